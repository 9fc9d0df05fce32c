using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Diagnosis;

/// <summary>
/// Why a machine has no IOMMU groups: no hardware, switched off in the firmware, switched off on the command line, or the kernel lacks the driver.
/// </summary>
internal static class IommuAbsence
{
    /// <summary>Whether the machine has any group.</summary>
    public static bool HasGroups(ISysfs sysfs) => sysfs.Entries(PciBus.Groups).Length > 0;

    /// <summary>
    /// Behind an SMMUv3 Linux takes one device for each stream id, and those of a conventional bus all have one. What it wrote into its log about a
    /// function that came too late; null when it wrote nothing, or the log cannot be read.
    /// </summary>
    public static Check? SharedStream(IKernel kernel, PciFunction function)
    {
        const string Reason = ": Aliasing StreamID ", From = " (from ";
        _ = KernelLog.Read(kernel, out IReadOnlyList<string> lines);
        if (lines.LastOrDefault(line => line.Contains(function.Address + Reason, StringComparison.Ordinal)) is not { } found
            || found.IndexOf(From, StringComparison.Ordinal) is not (> 0 and int at))
        {
            return null;
        }

        string owner = found[(at + From.Length)..].Split(')')[0];
        return new Check("IOMMU", CheckResult.Fail, $"its requests carry the id of {owner}, and the SMMUv3 driver takes one device for each id",
            $"Use {owner}, or put the card into a slot of PCI Express: of the devices behind one bridge to conventional PCI only one can be"
                + " attached.",
            $"/dev/kmsg={found}");
    }

    /// <summary>Finds out.</summary>
    public static Check Explain(ISysfs sysfs)
    {
        string[] words = (sysfs.Attribute("/proc/cmdline") ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries);
        string line = $"/proc/cmdline={string.Join(' ', words)}";
        if (HasGroups(sysfs))
        {
            return new Check("IOMMU", CheckResult.Fail, "the machine has an IOMMU, but this function is not behind it",
                "Nothing helps for this function: on-board and virtual functions are often left out by the firmware's tables.",
                $"{PciBus.Groups}={sysfs.Entries(PciBus.Groups).Length} groups");
        }

        if (words.FirstOrDefault(static word => word is "intel_iommu=off" or "amd_iommu=off" or "iommu=off"
            or "arm-smmu.disable_bypass=0") is { } off)
        {
            return new Check("IOMMU", CheckResult.Fail, $"the kernel command line says {off}", $"Remove {off} and reboot.", line);
        }

        if (sysfs.Entries("/sys/class/iommu").Length > 0)
        {
            return new Check("IOMMU", CheckResult.Fail, "an IOMMU unit was found, but no device is behind it",
                "`dmesg | grep -i -e dmar -e iommu -e smmu` tells what failed.",
                $"/sys/class/iommu={string.Join(',', sysfs.Entries("/sys/class/iommu"))}");
        }

        string[] tables = sysfs.Entries("/sys/firmware/acpi/tables");
        string found =
            $"/sys/firmware/acpi/tables={string.Join(',', tables.Where(static table => table is "DMAR" or "IVRS" or "IORT" or "VIOT" or "RIMT"))}";
        if (tables.Contains("DMAR"))
        {
            return new Check("IOMMU", CheckResult.Fail, "the firmware announces VT-d, but the kernel does not use it",
                "Put intel_iommu=on on the kernel command line and reboot (CONFIG_INTEL_IOMMU is needed).", found, line);
        }

        if (tables.Contains("IVRS"))
        {
            return new Check("IOMMU", CheckResult.Fail, "the firmware announces AMD-Vi, but the kernel does not use it",
                "Remove amd_iommu= and iommu= from the kernel command line; the kernel needs CONFIG_AMD_IOMMU.", found, line);
        }

        if (tables.Contains("IORT") || tables.Contains("RIMT") || sysfs.Exists("/sys/firmware/devicetree/base"))
        {
            return new Check("IOMMU", CheckResult.Fail,
                "the firmware's tables (IORT or RIMT, or the device tree's `iommus`) put no IOMMU in front of PCI, or its driver is missing",
                "Switch the SMMU on in the firmware, or use a device tree whose PCI host has `iommu-map`; the kernel needs the driver"
                    + " (CONFIG_ARM_SMMU_V3, CONFIG_RISCV_IOMMU).", found);
        }

        if (tables.Length == 0 && !sysfs.Exists("/sys/firmware/acpi"))
        {
            return new Check("IOMMU", CheckResult.Fail,
                "the firmware shows neither ACPI tables nor a device tree: a virtual machine without an IOMMU, or a capture without them",
                "Give the virtual machine an IOMMU (QEMU: -device intel-iommu,intremap=on).", "/sys/firmware/acpi=absent");
        }

        if ((sysfs.Attribute("/proc/cpuinfo") ?? "").Contains(" hypervisor", StringComparison.Ordinal))
        {
            return new Check("IOMMU", CheckResult.Fail, "this is a virtual machine, and it was given no IOMMU",
                $"Its owner must add one (QEMU: -device intel-iommu,intremap=on). Unsafe alternative: `echo Y > {BindRules.NoIommuParameter}`.",
                found, "/proc/cpuinfo=flags: hypervisor");
        }

        string cpu = (sysfs.Attribute("/proc/cpuinfo") ?? "").Split('\n')
            .FirstOrDefault(static text => text.StartsWith("vendor_id", StringComparison.Ordinal))
                ?? RuntimeInformation.ProcessArchitecture.ToString();
        string name = cpu.Contains("AMD", StringComparison.Ordinal)
            ? "AMD-Vi (also called IOMMU or SVM)"
            : cpu.Contains("Intel", StringComparison.Ordinal) ? "VT-d"
            : "the IOMMU";
        return new Check("IOMMU", CheckResult.Fail,
            "the firmware announces no IOMMU (no DMAR, IVRS, IORT, VIOT or RIMT table): it is switched off there, or the machine has none",
            $"Switch {name} on in the firmware setup.", found);
    }
}
