using System.Runtime.InteropServices;

namespace IommuFd.HwSim.Kernel;

/// <summary>The capabilities that iommufd and VFIO ask for (capabilities(7)).</summary>
[Flags]
public enum Capabilities
{
    /// <summary>None of them.</summary>
    None = 0,

    /// <summary>CAP_IPC_LOCK: lock memory beyond RLIMIT_MEMLOCK.</summary>
    IpcLock = 1,

    /// <summary>CAP_SYS_RESOURCE: choose how locked memory is counted.</summary>
    SysResource = 2,

    /// <summary>CAP_SYS_RAWIO: use devices without an IOMMU.</summary>
    SysRawIO = 4,

    /// <summary>What root has.</summary>
    All = IpcLock | SysResource | SysRawIO,
}

/// <summary>The calling process: its descriptors, its privileges and its counts of locked memory.</summary>
/// <param name="user">Who runs it.</param>
public abstract class SimulatedProcess(SimulatedUser user)
{
    /// <summary>Who runs it.</summary>
    public SimulatedUser User { get; } = user;

    /// <summary>The capabilities it has.</summary>
    public virtual Capabilities Capabilities => Capabilities.All;

    /// <summary>RLIMIT_MEMLOCK in bytes; <see cref="ulong.MaxValue"/> is RLIM_INFINITY. Read at every charge.</summary>
    public virtual ulong MemlockLimit => ulong.MaxValue;

    /// <summary>VmLck: pages that are charged to this process alone.</summary>
    public PageCounter LockedPages { get; } = new();

    /// <summary>VmPin: pages that are pinned for devices, however they are charged.</summary>
    public PageCounter PinnedPages { get; } = new();

    /// <summary>True when the process has <paramref name="capability"/>.</summary>
    public bool Capable(Capabilities capability) => (Capabilities & capability) == capability;

    /// <summary>
    /// Gives an open file a descriptor number; the table then owns the caller's reference. Returns the number, or -EMFILE; then the caller keeps it.
    /// </summary>
    public abstract int InstallFile(SimulatedFile file);

    /// <summary>
    /// fget: the simulated file behind a descriptor with a reference taken, or null when the descriptor is closed or not simulated.
    /// </summary>
    public abstract SimulatedFile? GetFile(int descriptor);

    /// <summary>
    /// fget of a descriptor that is the host's (an eventfd, a memfd): a close-on-exec duplicate in this process, which the caller closes; or -errno.
    /// A caller that must not be given a simulated file asks <see cref="GetFile"/> first. The process may be another one than this: never use its
    /// numbers directly.
    /// </summary>
    public virtual int DuplicateDescriptor(int descriptor)
    {
        var copy = Native.Libc.Fcntl(descriptor, Native.Libc.F_DUPFD_CLOEXEC, 0);
        return copy < 0 ? -Marshal.GetLastPInvokeError() : copy;
    }

    /// <summary>
    /// Makes pages of a memory file reachable under an address of this process, or under a token of <see cref="PhysicalMemory.Remote"/>; 0 when it
    /// cannot.
    /// </summary>
    internal virtual nint MapFile(int descriptor, ulong start, ulong length)
    {
        var mapping = Native.Libc.Mmap(
            0, (nuint)length, Native.Libc.PROT_READ | Native.Libc.PROT_WRITE, Native.Libc.MAP_SHARED | Native.Libc.MAP_NORESERVE,
            descriptor, (long)start);
        return mapping is > -4096 and < 0 ? 0 : mapping;
    }

    /// <summary>Takes back a <see cref="MapFile"/>.</summary>
    internal virtual void UnmapFile(nint host, ulong length) => _ = Native.Libc.Munmap(host, (nuint)length);

    /// <summary>Makes pages of a <see cref="MapFile"/> present; false beyond the file's end.</summary>
    internal virtual bool PopulateFile(nint host, ulong length) => Native.Libc.Madvise(host, (nuint)length, Native.Libc.MADV_POPULATE_WRITE) == 0;
}
