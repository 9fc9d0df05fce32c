using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Diagnosis;

/// <summary>What a refused change of drivers means: errno of a sysfs write to cause and remedy.</summary>
internal static class BindText
{
    /// <summary>Makes the complaint.</summary>
    /// <param name="session">The host, asked for evidence.</param>
    /// <param name="failure">What failed.</param>
    /// <param name="timeout">The timeout of unbind, in words.</param>
    public static CommandFailure Describe(Session session, DriverFailure failure, string timeout)
    {
        (string cause, string remedy, ExitCode code) = failure.Stage switch
        {
            DriverFailureStage.Journal => Journal(failure),
            DriverFailureStage.Verify => Verify(failure),
            _ => Write(session, failure, timeout),
        };
        if (failure.Errno == Errno.ETIMEDOUT)
        {
            code = ExitCode.Incomplete;
        }
        else if (failure.NotRestored.Count > 0)
        {
            code = ExitCode.Incomplete;
            remedy += $" Not put back: {string.Join(", ", failure.NotRestored)}; `vfio restore` tries again.";
        }
        else
        {
            remedy += failure.Stage == DriverFailureStage.Journal || code is ExitCode.Permission
                ? " Nothing was changed."
                : " What had been changed was put back.";
        }

        return new CommandFailure(code, $"{failure.Address}: {cause}", remedy.TrimStart())
        {
            Errno = failure.Errno,
            Evidence = failure.Stage == DriverFailureStage.Write
                ? [$"{failure.Write.Path}={(failure.Errno == Errno.ETIMEDOUT ? "write has not returned" : Errno.Name(failure.Errno))}"]
                : [$"{PciBus.DevicePath(failure.Address)}/driver={failure.Found.Driver ?? "none"}"],
        };
    }

    private static (string Cause, string Remedy, ExitCode Code) Journal(DriverFailure failure) => failure.Errno switch
    {
        Errno.EBUSY => ("another vfio command is changing drivers.", "Wait for it to end and try again.", ExitCode.Busy),
        Errno.EALREADY => ("a vfio command was killed while it changed drivers, and what it left could not be put back yet.",
            "End whoever uses the functions that were named, then `vfio restore` as root (with --forget: leave them as they are).", ExitCode.Busy),
        Errno.EACCES => ($"this user may not change drivers ({DirectoryBindingStore.DefaultDirectory} is not writable).",
            "Run the command as root.", ExitCode.Permission),
        Errno.EROFS => ("this host is read-only.", "A capture can be looked at, not changed.", ExitCode.Unsupported),
        _ => ($"the journal in {DirectoryBindingStore.DefaultDirectory} cannot be written ({Errno.Name(failure.Errno)}).",
            "Make room in /run.", ExitCode.Refused),
    };

    private static (string Cause, string Remedy, ExitCode Code) Verify(DriverFailure failure) => (
        $"every write succeeded, but the function is on {(failure.Found.Driver is null ? "no driver" : $"driver {failure.Found.Driver}")}"
            + $"{(failure.Found.Override is null ? "" : $" with driver_override {failure.Found.Override}")}.",
        "Something else (udev, driverctl, vfio-pci.ids= on the kernel command line) moved it at the same time; `dmesg` tells what the driver said.",
        ExitCode.Refused);

    private static (string Cause, string Remedy, ExitCode Code) Write(Session session, DriverFailure failure, string timeout)
    {
        string path = failure.Write.Path;
        if (failure.Errno is Errno.EACCES or Errno.EPERM)
        {
            return ($"this user may not write {path}.", "Run the command as root.", ExitCode.Permission);
        }

        if (failure.Errno == Errno.EROFS)
        {
            return ("this host is read-only.", "A capture can be looked at, not changed.", ExitCode.Unsupported);
        }

        if (failure.Errno == Errno.ETIMEDOUT)
        {
            return (
                $"its driver has not let go within {timeout}.",
                "The write goes on waiting in the kernel for whoever uses the device; ending the users now may not wake it, and then only a reboot"
                    + " helps. Once it has ended, `vfio restore` gives the function back.",
                ExitCode.Busy);
        }

        if (failure.Errno == Errno.EALREADY)
        {
            return ("the unbind of an earlier vfio command still waits for its driver to let go.",
                "End whoever uses the device; `vfio explain` names them.", ExitCode.Busy);
        }

        string file = path[(path.LastIndexOf('/') + 1)..];
        string driver = path.StartsWith(PciBus.Drivers, StringComparison.Ordinal) ? path.Split('/')[^2] : "";
        return (file, failure.Errno) switch
        {
            ("bind", Errno.ENOENT) => ($"driver {driver} is not loaded.", $"Load it: `modprobe {driver}`.", ExitCode.Unsupported),
            ("bind", Errno.ENODEV) => ($"driver {driver} does not take this function (ENODEV).",
                $"It matched neither by id nor by driver_override; `dmesg` tells what {driver} said.", ExitCode.Refused),
            ("bind", Errno.EINVAL) => NotForVfio(session, failure.Address, driver),
            ("bind", Errno.EBUSY) => Busy(session, failure.Address, driver),
            ("driver_override", Errno.ENOENT) => ("the kernel has no driver_override for it.", "It came with Linux 3.16.", ExitCode.Unsupported),
            ("unbind", Errno.ENODEV) => ("the driver let go of it at the same time.", "Try again.", ExitCode.Busy),
            _ => ($"writing '{failure.Write.Text.TrimEnd()}' to {path} failed with {Errno.Name(failure.Errno)} ({Errno.Describe(failure.Errno)}).",
                "`dmesg` may say more.", ExitCode.Refused),
        };
    }

    private static (string Cause, string Remedy, ExitCode Code) NotForVfio(Session session, PciAddress address, string driver)
    {
        PciFunction? function = session.Bus.Find(address);
        return function switch
        {
            { Group: null } =>
                ($"{driver} refuses it because no IOMMU stands in front of it.", "`vfio doctor` tells why there is none.", ExitCode.Unsupported),
            { IsBridge: true } => ($"{driver} refuses it because it is a bridge.",
                "Leave bridges on their driver: they do not keep a group from user space.", ExitCode.Unsupported),
            _ => ($"{driver} refuses it (EINVAL): it is on the driver's deny list, or its header is not that of an endpoint.",
                "`dmesg` tells which.", ExitCode.Unsupported),
        };
    }

    private static (string Cause, string Remedy, ExitCode Code) Busy(Session session, PciAddress address, string driver)
    {
        if (session.Sysfs.Number(PciBus.DevicePath(address) + "/sriov_numvfs") is > 0)
        {
            return ($"{driver} refuses it because it has VFs.", $"Remove them first: `vfio vf delete {address}`.", ExitCode.Busy);
        }

        if (session.Bus.Find(address)?.Group is { } id && session.Bus.Group(id) is { } group
            && group.Members.FirstOrDefault(member => member.Address != address && DriverClaim.Of(member) == DriverClaimKind.Vfio) is { } owned)
        {
            return ($"driver {driver} needs the host's DMA, but user space owns its group through {owned.Address}.",
                $"End the program that has {owned.Address} open first.", ExitCode.Busy);
        }

        return ($"driver {driver} says that it is busy.", "`dmesg` tells why.", ExitCode.Busy);
    }
}
