using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>One address range of a function, as a line of its <c>resource</c> attribute says.</summary>
/// <param name="Index">0..5: BARs; 6: the expansion ROM; 7..12: SR-IOV BARs.</param>
/// <param name="First">The first address.</param>
/// <param name="Last">The last address, inclusive.</param>
/// <param name="Flags">The kernel's IORESOURCE_ flags.</param>
public readonly record struct PciResource(int Index, ulong First, ulong Last, ulong Flags)
{
    /// <summary>Bytes.</summary>
    public ulong Length => Last - First + 1;

    /// <summary>I/O ports rather than memory (IORESOURCE_IO).</summary>
    public bool IsIo => (Flags & 0x100) != 0;

    /// <summary>IORESOURCE_PREFETCH.</summary>
    public bool IsPrefetchable => (Flags & 0x2000) != 0;

    /// <summary>IORESOURCE_MEM_64.</summary>
    public bool Is64Bit => (Flags & 0x100000) != 0;

    /// <summary><c>BAR 0</c>, <c>ROM</c>, <c>VF BAR 0</c>.</summary>
    public string Name => Index switch { < 6 => $"BAR {Index}", 6 => "ROM", _ => $"VF BAR {Index - 7}" };

    /// <summary>The ranges that a function uses; those without a length are left out, and so are a bridge's windows.</summary>
    public static IReadOnlyList<PciResource> Read(ISysfs sysfs, PciAddress address)
    {
        List<PciResource> found = [];
        string[] lines = (sysfs.Attribute(PciBus.DevicePath(address) + "/resource") ?? "").Split('\n');
        for (int i = 0; i < lines.Length && i < 13; i++)
        {
            string[] words = lines[i].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 3 && SysfsReading.ParseNumber(words[0]) is { } first && SysfsReading.ParseNumber(words[1]) is { } last
                && SysfsReading.ParseNumber(words[2]) is { } flags && flags != 0)
            {
                found.Add(new PciResource(i, (ulong)first, (ulong)last, (ulong)flags));
            }
        }

        return found;
    }
}
