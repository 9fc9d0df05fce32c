using System.IO.Enumeration;
using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>
/// VFIO drivers for particular devices (mlx5_vfio_pci, ...), which add migration and the like to vfio-pci. A module announces them by an alias
/// <c>vfio_pci:</c> followed by what stands behind <c>pci:</c> in a function's own alias
/// (Documentation/driver-api/vfio-pci-device-specific-driver-acceptance.rst).
/// </summary>
public static class VariantDriver
{
    /// <summary>The variant driver for a function, or null when the kernel's modules have none for it.</summary>
    public static string? Find(ISysfs sysfs, PciFunction function)
    {
        if (function.ModuleAlias is not { } alias || !alias.StartsWith("pci:", StringComparison.Ordinal)
            || sysfs.Attribute("/proc/sys/kernel/osrelease") is not { } release
            || sysfs.ReadText($"/lib/modules/{release}/modules.alias", out string text) < 0)
        {
            return null;
        }

        string wanted = "vfio_pci:" + alias[4..];
        string? best = null;
        int wildcards = int.MaxValue;
        foreach (ReadOnlySpan<char> line in text.AsSpan().EnumerateLines())
        {
            // alias PATTERN MODULE
            if (!line.StartsWith("alias vfio_pci:"))
            {
                continue;
            }

            int space = line.LastIndexOf(' ');
            ReadOnlySpan<char> pattern = line[6..space], module = line[(space + 1)..];
            int stars = pattern.Count('*');
            if (stars < wildcards && !module.SequenceEqual("vfio_pci") && FileSystemName.MatchesSimpleExpression(pattern, wanted, ignoreCase: false))
            {
                (best, wildcards) = (module.ToString(), stars);
            }
        }

        return best;
    }
}
