using IommuFd;
using IommuFd.Native;

namespace VfioCli.Diagnosis;

/// <summary>The library's exceptions as complaints of the command.</summary>
internal static class FailureText
{
    /// <summary>Makes the complaint.</summary>
    public static CommandFailure Describe(IommuFdException exception) => new(
        Code(exception),
        $"{exception.Operation}: {exception.Explanation}"
            + $" ({string.Join("; ", [exception.ErrnoName, .. exception.Evidence.Select(static evidence => evidence.ToString())])}).",
        exception.Remedy)
    {
        Errno = exception.Errno,
        Evidence = [.. exception.Evidence.Select(static evidence => evidence.ToString())],
    };

    private static ExitCode Code(IommuFdException exception) => exception.Cause switch
    {
        FailureCause.NoPermission or FailureCause.WrongVfToken => ExitCode.Permission,
        FailureCause.NoSuchNode or FailureCause.NoSuchObject or FailureCause.DeviceGone => ExitCode.NotFound,
        FailureCause.DeviceBusy or FailureCause.ObjectInUse or FailureCause.GroupNotViable or FailureCause.GroupDomainInUse
            or FailureCause.NotBoundToVfio => ExitCode.Busy,
        FailureCause.CommandUnknown or FailureCause.NotSupported or FailureCause.NoCharacterDevice or FailureCause.InterruptsNotIsolated
            or FailureCause.ReadOnlyHost or FailureCause.CannotBind => ExitCode.Unsupported,
        FailureCause.BadHostDescription or FailureCause.IovaNotPermitted => ExitCode.Usage,
        _ when exception.Errno is Errno.EACCES or Errno.EPERM => ExitCode.Permission,
        _ => ExitCode.Refused,
    };
}
