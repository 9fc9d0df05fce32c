using System.Runtime.CompilerServices;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The memory of this very process. A range is touched directly only where it is known to be mapped; anything else goes through process_vm_readv and
/// process_vm_writev on ourselves, which answer EFAULT where a direct access would kill the process.
/// </summary>
/// <remarks>
/// Known to be mapped are anonymous mappings that were made through the seam and the calling thread's stack a little above the present frame, where
/// the argument structs of typed callers live. The former are shared memory, whatever the program asked for, so that the simulator maps them a second
/// time for devices (<see cref="PageAlias"/>): pinned pages stay as they are when the program unmaps or protects them, through the seam or behind its
/// back. A device reaches what is not known by copies (<see cref="OwnMemory"/>).
/// Does not model: pages of unknown memory (malloc, the managed heap, private mappings of files) that stay for a device when the program frees them,
/// because nothing holds a private page but its mapping: the device's access is a reported DMA error. Unknown pages that madvise(2) or mmap(2)
/// replaces while they are pinned: a device reaches the new ones. -EFAULT for known memory that was unmapped behind the seam's back: ioctls and new
/// mappings mean its old pages, also when something else is there now, because asking the host would double the time of a map. Copy on write of known
/// memory after fork(2).
/// </remarks>
/// <param name="process">The process, which is the caller of every ioctl.</param>
// SAFETY (whole class): a pointer is dereferenced here only on the stack or in an alias that is held; every other access is made by the host's
// kernel.
public sealed unsafe partial class InProcessUserMemory(SimulatedProcess process) : IUserMemory
{
    // Two frames of the seam lie below the caller's; a stack's first 16 KiB hold the runtime's own frames, so this much above us is always there.
    private const ulong StackReach = 4096;

    private readonly Lock _gate = new();

    // Sorted by address, disjoint; replaced as a whole, so that readers take no lock.
    private Range[] _known = [];
    private Range[] _devices = [];
    private GuardedPages? _guarded;
    private GuardedPages? _guardedWithDevices;

    private readonly record struct Range(ulong First, ulong Last, PageAlias? Alias = null);

    /// <inheritdoc/>
    public SimulatedProcess Process { get; } = process;

    /// <summary>An anonymous, shared, readable and writable mapping was made through the seam.</summary>
    public void AddMapping(nint address, nuint length) => Add(ref _known, address, length);

    /// <summary>A device's registers or memory were mapped through the seam: no pages that could be pinned (VM_PFNMAP).</summary>
    public void AddDeviceMapping(nint address, nuint length) => Add(ref _devices, address, length);

    /// <summary>A range was unmapped through the seam, or something else was mapped over it.</summary>
    public void RemoveMapping(nint address, nuint length)
    {
        if (length == 0)
        {
            return;
        }

        lock (_gate)
        {
            Range range = new((ulong)address, (ulong)address + length - 1);
            Range[] before = _known;
            Remove(ref _known, range);
            Remove(ref _devices, range);
            GiveUpAliases(before, range);
        }
    }

    /// <inheritdoc/>
    public int CopyFrom(ulong address, void* destination, nuint length)
    {
        if (IsOnStack(address, length))
        {
            Unsafe.CopyBlockUnaligned(destination, (void*)address, (uint)length);
            return 0;
        }

        if (Hold(address, length) is not { } alias)
        {
            return Transfer(Libc.SYS_process_vm_readv, address, destination, length);
        }

        Unsafe.CopyBlockUnaligned(destination, alias.At(address), (uint)length);
        alias.Release(1);
        return 0;
    }

    /// <inheritdoc/>
    public int CopyTo(ulong address, void* source, nuint length)
    {
        if (IsOnStack(address, length))
        {
            Unsafe.CopyBlockUnaligned((void*)address, source, (uint)length);
            return 0;
        }

        if (Hold(address, length) is not { } alias)
        {
            return Transfer(Libc.SYS_process_vm_writev, address, source, length);
        }

        Unsafe.CopyBlockUnaligned(alias.At(address), source, (uint)length);
        alias.Release(1);
        return 0;
    }

    /// <inheritdoc/>
    public IPageSource PagesAt(ulong address, ulong length, bool withDevices) =>
        AliasOf(address, length)
        ?? (IPageSource)(withDevices
            ? _guardedWithDevices ??= new GuardedPages(this, withDevices: true)
            : _guarded ??= new GuardedPages(this, withDevices: false));

    /// <inheritdoc/>
    public int Pin(ulong address, ulong length, bool writable) => Pin(address, length, writable, withDevices: false);

    /// <inheritdoc/>
    public void Unpin(ulong address, ulong length)
    {
    }

    /// <inheritdoc/>
    public nint HostAddress(ulong address, ref ulong length) => (nint)address;

    private int Pin(ulong address, ulong length, bool writable, bool withDevices) =>
        !withDevices && Touches(_devices, address, length) ? -Errno.EFAULT : Populate(address, length, writable);

    private static bool Touches(Range[] ranges, ulong address, ulong length) =>
        ranges.Length != 0 && Array.Exists(ranges, range => range.First < address + length && range.Last >= address);

    // One call for the whole range: pages that are missing or not permitted fail it.
    private static int Populate(ulong address, ulong length, bool writable) =>
        Libc.Madvise((nint)address, (nuint)length, writable ? Libc.MADV_POPULATE_WRITE : Libc.MADV_POPULATE_READ) == 0 ? 0 : -Errno.EFAULT;

    private static void Remove(ref Range[] ranges, Range gone)
    {
        if (!Array.Exists(ranges, range => range.First <= gone.Last && range.Last >= gone.First))
        {
            return;
        }

        List<Range> kept = new(ranges.Length + 1);
        foreach (var range in ranges)
        {
            if (range.Last < gone.First || range.First > gone.Last)
            {
                kept.Add(range);
                continue;
            }

            if (range.First < gone.First)
            {
                kept.Add(range with { Last = gone.First - 1 });
            }

            if (range.Last > gone.Last)
            {
                kept.Add(range with { First = gone.Last + 1 });
            }
        }

        ranges = [.. kept];
    }

    private void Add(ref Range[] ranges, nint address, nuint length)
    {
        if (length == 0)
        {
            return;
        }

        RemoveMapping(address, length);
        lock (_gate)
        {
            Range range = new((ulong)address, (ulong)address + length - 1);
            var at = FirstAfter(ranges, range.First);
            ranges = [.. ranges.AsSpan(0, at), range, .. ranges.AsSpan(at)];
        }
    }

    private static int FirstAfter(Range[] ranges, ulong address)
    {
        int low = 0, high = ranges.Length;
        while (low < high)
        {
            var middle = (low + high) >>> 1;
            if (ranges[middle].First <= address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsOnStack(ulong address, nuint length)
    {
        byte frame;
        return address - (ulong)&frame < StackReach && length <= StackReach;
    }

    private static int Transfer(nint call, ulong address, void* local, nuint length)
    {
        for (nuint done = 0; done < length;)
        {
            var here = new Libc.IoVector { Base = (byte*)local + done, Length = length - done };
            var there = new Libc.IoVector { Base = (void*)(address + done), Length = length - done };
            var moved = Libc.Syscall(call, Environment.ProcessId, (nint)(&here), 1, (nint)(&there), 1, 0);
            if (moved <= 0)
            {
                return -Errno.EFAULT;
            }

            done += (nuint)moved;
        }

        return 0;
    }
}
