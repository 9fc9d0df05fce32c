using System.Globalization;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Diagnosis;

/// <summary>An IOMMU unit as <c>/sys/class/iommu</c> shows it, with its capability registers decoded.</summary>
/// <param name="Name"><c>dmar0</c>, <c>ivhd0</c>, <c>smmu3.0x...</c>.</param>
/// <param name="Family">What it is.</param>
/// <param name="Devices">How many devices are behind it.</param>
/// <param name="Registers">Capability registers, raw.</param>
/// <param name="Capabilities">The same, decoded.</param>
internal sealed record IommuUnit(
    string Name, string Family, int Devices, IReadOnlyList<(string Name, ulong Value)> Registers,
    IReadOnlyList<(string Name, string Value)> Capabilities)
{
    /// <summary>Every unit of the host.</summary>
    public static IReadOnlyList<IommuUnit> ReadAll(ISysfs sysfs) => [.. sysfs.Entries("/sys/class/iommu").Select(name => Read(sysfs, name))];

    private static IommuUnit Read(ISysfs sysfs, string name)
    {
        string path = "/sys/class/iommu/" + name;
        int devices = sysfs.Entries(path + "/devices").Length;
        if (Hex(sysfs, path + "/intel-iommu/cap") is { } cap)
        {
            ulong ecap = Hex(sysfs, path + "/intel-iommu/ecap") ?? 0;
            return new IommuUnit(name, "Intel VT-d", devices, [("CAP", cap), ("ECAP", ecap)], [.. VtdCapabilities(cap, ecap)]);
        }

        if (Hex(sysfs, path + "/amd-iommu/features") is { } features)
        {
            return new IommuUnit(name, "AMD-Vi", devices, [("EFR", features)], [.. AmdFeatures(features)]);
        }

        string family = name.StartsWith("smmu3", StringComparison.Ordinal) || name.Contains("arm-smmu-v3", StringComparison.Ordinal) ? "Arm SMMUv3"
            : name.StartsWith("smmu", StringComparison.Ordinal) ? "Arm SMMU" : name.Contains("riscv", StringComparison.Ordinal) ? "RISC-V IOMMU"
            : name.StartsWith("virtio", StringComparison.Ordinal) ? "virtio-iommu" : "IOMMU";
        return new IommuUnit(name, family, devices, [], [("capabilities", "shown per attached device only (`vfio attach`)")]);
    }

    // VT-d specification, 10.4.2 (CAP_REG) and 10.4.3 (ECAP_REG).
    private static IEnumerable<(string Name, string Value)> VtdCapabilities(ulong cap, ulong ecap)
    {
        ulong widths = Bits(cap, 8, 5);
        yield return ("second-stage widths", List((widths & 2) != 0 ? "39 bits (3 levels)" : null, (widths & 4) != 0 ? "48 bits (4 levels)" : null,
            (widths & 8) != 0 ? "57 bits (5 levels)" : null));
        yield return ("address width", string.Create(CultureInfo.InvariantCulture, $"{Bits(cap, 16, 6) + 1} bits"));
        yield return ("page sizes", List("4 KiB", Bit(cap, 34) ? "2 MiB" : null, Bit(cap, 35) ? "1 GiB" : null));
        yield return ("domains", (1UL << (int)(4 + (2 * Bits(cap, 0, 3)))).ToString(CultureInfo.InvariantCulture));
        yield return ("scalable mode", YesNo(Bit(ecap, 43)));
        yield return ("first stage", Bit(ecap, 47) ? List("yes", Bit(cap, 56) ? "1 GiB pages" : null, Bit(cap, 60) ? "5 levels" : null) : "no");
        yield return ("nesting", YesNo(Bit(ecap, 26)));
        yield return ("PASID", Bit(ecap, 40) ? string.Create(CultureInfo.InvariantCulture, $"{Bits(ecap, 35, 5) + 1} bits") : "no");
        yield return ("page requests", YesNo(Bit(ecap, 29)));
        yield return ("device TLB (ATS)", YesNo(Bit(ecap, 2)));
        yield return ("dirty tracking", YesNo(Bit(ecap, 45)));
        yield return ("interrupt remapping", YesNo(Bit(ecap, 3)));
        yield return ("pass-through", YesNo(Bit(ecap, 6)));
        yield return ("snoop control", YesNo(Bit(ecap, 7)));
        yield return ("coherent walks", YesNo(Bit(ecap, 0)));
        yield return ("caching mode", YesNo(Bit(cap, 7)));
    }

    // AMD I/O Virtualization Technology Specification, 3.4.10 (Extended Feature Register).
    private static IEnumerable<(string Name, string Value)> AmdFeatures(ulong features)
    {
        yield return ("host page table", string.Create(CultureInfo.InvariantCulture, $"up to {4 + Bits(features, 10, 2)} levels"));
        yield return ("guest page table",
            Bit(features, 4) ? string.Create(CultureInfo.InvariantCulture, $"up to {4 + Bits(features, 12, 2)} levels") : "no");
        yield return ("PASID", Bits(features, 32, 5) is var width and > 0 ? string.Create(CultureInfo.InvariantCulture, $"{width + 1} bits") : "no");
        yield return ("page requests", YesNo(Bit(features, 1)));
        yield return ("dirty tracking", YesNo(Bit(features, 52)));
        yield return ("access bit", YesNo(Bit(features, 49)));
        yield return ("guest interrupts", YesNo(Bit(features, 7)));
        yield return ("x2APIC", YesNo(Bit(features, 2)));
        yield return ("prefetch", YesNo(Bit(features, 0)));
    }

    // These attributes are hexadecimal without a prefix; AMD's has the second register behind a colon.
    private static ulong? Hex(ISysfs sysfs, string path) => sysfs.Attribute(path) is { } text
        && ulong.TryParse(text.Split(':')[0].Replace("0x", "", StringComparison.Ordinal), NumberStyles.AllowHexSpecifier,
            CultureInfo.InvariantCulture, out ulong value) ? value : null;

    private static ulong Bits(ulong value, int shift, int count) => (value >> shift) & ((1UL << count) - 1);

    private static bool Bit(ulong value, int bit) => ((value >> bit) & 1) != 0;

    private static string YesNo(bool value) => value ? "yes" : "no";

    private static string List(params string?[] parts) => string.Join(", ", parts.OfType<string>());
}
