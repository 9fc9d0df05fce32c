namespace VfioCli;

/// <summary>What the command's exit status says. The numbers are part of the interface: scripts test them.</summary>
internal enum ExitCode
{
    /// <summary>Done.</summary>
    Ok = 0,

    /// <summary>The command ran and its answer is "no": a check failed, a self-test failed, a drift was found.</summary>
    No = 1,

    /// <summary>The command line is wrong; nothing was touched.</summary>
    Usage = 2,

    /// <summary>There is no such device, group, driver or file.</summary>
    NotFound = 3,

    /// <summary>Not permitted to this user.</summary>
    Permission = 4,

    /// <summary>In use by a driver, a process or the host itself; nothing was changed.</summary>
    Busy = 5,

    /// <summary>This host, kernel or device cannot do it.</summary>
    Unsupported = 6,

    /// <summary>The kernel refused; what had been changed was put back.</summary>
    Refused = 7,

    /// <summary>The kernel refused and not everything could be put back: see <c>vfio restore</c>.</summary>
    Incomplete = 8,

    /// <summary>A fault of this program.</summary>
    Internal = 70,
}
