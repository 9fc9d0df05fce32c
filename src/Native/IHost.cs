namespace IommuFd.Native;

/// <summary>What a host is: the machine itself, the bundled simulator, or files taken from somebody's machine.</summary>
public enum HostKind
{
    /// <summary>The running Linux kernel.</summary>
    Kernel,

    /// <summary>A simulated machine inside this process.</summary>
    Simulator,

    /// <summary>A read-only copy of a machine's sysfs and procfs; nothing can be opened or changed.</summary>
    Capture,
}

/// <summary>
/// The seam: everything that touches the machine goes through one of these two halves, so the same program runs on the kernel, on the
/// simulator and on a captured machine.
/// </summary>
public interface IHost : IDisposable
{
    /// <summary>What this host is.</summary>
    HostKind Kind { get; }

    /// <summary>One line for people: kernel release, topology name or capture path.</summary>
    string Description { get; }

    /// <summary>The system calls.</summary>
    IKernel Kernel { get; }

    /// <summary>The files under /sys, /proc, /dev and /etc.</summary>
    ISysfs Sysfs { get; }
}
