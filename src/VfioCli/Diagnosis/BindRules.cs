using IommuFd.Sysfs;
using VfioCli.Output;

namespace VfioCli.Diagnosis;

/// <summary>What is known to fail is refused before the first write.</summary>
internal static class BindRules
{
    /// <summary>The parameter that lets VFIO take functions without an IOMMU.</summary>
    public const string NoIommuParameter = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";

    /// <summary>Throws when <paramref name="driver"/> cannot take <paramref name="function"/>.</summary>
    /// <exception cref="CommandFailure">It cannot.</exception>
    public static void Check(Session session, PciFunction function, string driver)
    {
        if (function.IsBridge && DriverClaim.IsVfio(driver))
        {
            throw new CommandFailure(ExitCode.Unsupported, $"{function.Address} is a {PciClass.Name(function.Class)}, and VFIO takes no bridges.",
                "Leave it on its driver: bridges do not keep a group from user space.");
        }

        if (function.Group is null && DriverClaim.IsVfio(driver) && session.Sysfs.Attribute(NoIommuParameter) is not "Y")
        {
            throw new CommandFailure(ExitCode.Unsupported, $"{function.Address} has no IOMMU group: no IOMMU stands in front of it.",
                IommuAbsence.HasGroups(session.Sysfs)
                    ? $"`vfio explain {function.Address}` tells why."
                    : "`vfio doctor` tells why, and what to switch on.")
            {
                Evidence = [$"{function.Path}/iommu_group=absent"],
            };
        }

        if (function.Driver != driver && !session.Sysfs.Exists($"{PciBus.Drivers}/{driver}"))
        {
            throw new CommandFailure(ExitCode.Unsupported, $"driver {driver} is not there.",
                $"Load it: `modprobe {driver}`"
                    + $"{(driver.Contains('_', StringComparison.Ordinal) ? $" (the generic driver is called {DriverClaim.VfioPci})" : "")}.")
            {
                Evidence = [$"{PciBus.Drivers}/{driver}=absent"],
            };
        }
    }
}
