using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Diagnosis;

/// <summary>Whether the host isolates the interrupts of devices, which binding to iommufd asks for.</summary>
internal static class InterruptRemapping
{
    /// <summary>Looks at it.</summary>
    public static Check Check(ISysfs sysfs)
    {
        const string name = "interrupt remapping";
        string interrupts = sysfs.Attribute("/proc/interrupts") ?? "";
        if (interrupts.Length == 0)
        {
            return new Check(name, CheckResult.Skip, "/proc/interrupts cannot be read");
        }

        // x86 names remapped interrupt chips IR-*; on Arm the ITS isolates, on RISC-V the IOMMU's MSI tables do.
        if (interrupts.Contains("IR-", StringComparison.Ordinal) || interrupts.Contains("ITS", StringComparison.Ordinal)
            || interrupts.Contains("IMSIC", StringComparison.Ordinal))
        {
            return new Check(name, CheckResult.Pass, "on");
        }

        if (sysfs.Attribute("/sys/module/iommufd/parameters/allow_unsafe_interrupts") == "Y")
        {
            return new Check(
                name, CheckResult.Warn, "off, and iommufd is told to do without: a device can send any interrupt to this host",
                "Switch it on in the firmware (x2APIC, VT-d interrupt remapping), and take allow_unsafe_interrupts away.",
                "/sys/module/iommufd/parameters/allow_unsafe_interrupts=Y");
        }

        return new Check(
            name, CheckResult.Fail, "off: VFIO_DEVICE_BIND_IOMMUFD will answer EPERM",
            "Switch it on (firmware; QEMU: -device intel-iommu,intremap=on). Unsafe alternative: iommufd.allow_unsafe_interrupts=1, for the legacy"
                + " interface vfio_iommu_type1.allow_unsafe_interrupts=1.",
            "/proc/interrupts holds no IR- chip");
    }
}
