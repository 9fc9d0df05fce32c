using System.Reflection;

namespace IommuFd.HwSim;

/// <summary>The topologies that are files beside this one, embedded in the assembly.</summary>
internal static class BuiltInTopologies
{
    public static IReadOnlyList<string> Names { get; } =
    [
        "intel", "intel-scalable", "intel-mapped", "amd", "arm-smmuv3", "riscv", "rfc", "rfc-smmuv3", "rfc-amd", "rfc-riscv", "legacy-vfio",
        "noiommu", "no-iommu", "broken-iommu-off", "broken-no-remapping", "broken-no-cdev", "broken-group", "broken-memlock", "broken-reserved",
        "broken-holder", "broken-framebuffer",
    ];

    public static bool TryGet(string name, out string json)
    {
        json = "";
        if (!Names.Contains(name, StringComparer.Ordinal))
        {
            return false;
        }

        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream($"Topologies.{name}.json")!;
        using var reader = new StreamReader(stream);
        json = reader.ReadToEnd();
        return true;
    }
}
