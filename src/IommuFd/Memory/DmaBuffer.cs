using System.Buffers;
using System.Runtime.InteropServices;
using IommuFd.Native;

namespace IommuFd;

/// <summary>
/// Memory that devices can be given. It lies outside the garbage collector's heap, on whole pages of its own, and it is not freed while an IOVA
/// points at it:
/// <see cref="Resource.Dispose"/> on a mapped buffer takes effect when its last <see cref="Mapping"/> is gone.
/// </summary>
public sealed unsafe class DmaBuffer : Resource
{
    private readonly IDisposable? _memory;
    private readonly MemFdHandle? _file;
    private readonly Manager _manager;

    private DmaBuffer(nint address, ulong length, IDisposable? memory, MemFdHandle? file, ulong pageSize, int numaNode)
    {
        Address = address;
        Length = length;
        _memory = memory;
        _file = file;

        // A lost buffer stays: a device may still write to it, and a span does not keep it alive. Only Dispose frees.
        if (memory is MappedMemory own)
        {
#pragma warning disable CA1816
            GC.SuppressFinalize(own);
#pragma warning restore CA1816
        }

        PageSize = pageSize;
        NumaNode = numaNode;
        _manager = new Manager(this);
    }

    /// <summary>The process address of the first byte, aligned to <see cref="PageSize"/>.</summary>
    public nint Address { get; }

    /// <summary>Bytes, a multiple of <see cref="PageSize"/>.</summary>
    public ulong Length { get; }

    /// <summary>The page size obtained, in bytes; smaller than the one asked for when the pool was empty.</summary>
    public ulong PageSize { get; }

    /// <summary>The preferred NUMA node, or -1.</summary>
    public int NumaNode { get; }

    /// <summary>Whether the memory is a memfd.</summary>
    public bool IsMemFd => _file is not null;

    /// <summary>The whole buffer.</summary>
    /// <exception cref="OverflowException">It is larger than a span can be (2 GiB - 1); use <see cref="Slice"/>.</exception>
    public Span<byte> Span => Slice(0, checked((int)Length));

    /// <summary>The whole buffer for asynchronous code. Pinning it keeps the memory.</summary>
    /// <exception cref="OverflowException">It is larger than 2 GiB - 1.</exception>
    public Memory<byte> Memory => _manager.Memory;

    internal MemFdHandle? File => _file;

    /// <summary>A part of the buffer. Valid until the buffer is disposed and unmapped; devices may change it at any time.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the buffer.</exception>
    public Span<byte> Slice(ulong offset, int length)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)length, Length - offset, nameof(length));

        // SAFETY: offset + length lies inside the mapping, which is unmapped only after the last holder of this buffer is gone.
        return new Span<byte>((void*)(Address + (nint)offset), length);
    }

    /// <summary>The elements at <paramref name="offset"/>, for rings and tables that a device shares.</summary>
    /// <exception cref="ArgumentOutOfRangeException">They are not inside the buffer.</exception>
    public Span<T> Slice<T>(ulong offset, int count)
        where T : unmanaged => MemoryMarshal.Cast<byte, T>(Slice(offset, checked(count * sizeof(T))));

    /// <summary>One element at <paramref name="offset"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is not inside the buffer.</exception>
    public ref T At<T>(ulong offset)
        where T : unmanaged => ref Slice<T>(offset, 1)[0];

    /// <summary>
    /// Takes memory that somebody else allocated: not the garbage collector's, on pages of its own, and not to be freed before this is.
    /// </summary>
    /// <param name="address">The first byte, page-aligned.</param>
    /// <param name="length">Bytes, whole pages.</param>
    /// <param name="keepAlive">Disposed when neither this nor a mapping needs the memory any more; null when the caller sees to it.</param>
    /// <exception cref="ArgumentException">The memory is not whole pages: a device would reach its neighbours.</exception>
    public static DmaBuffer Adopt(nint address, ulong length, IDisposable? keepAlive)
    {
        ulong mask = (ulong)Libc.PageSize - 1;
        return length != 0 && (((ulong)address | length) & mask) == 0
            ? new DmaBuffer(address, length, keepAlive, null, (ulong)Libc.PageSize, -1)
            : throw new ArgumentException($"0x{length:x} bytes at 0x{address:x} are not whole pages: a device would reach what lies beside them.",
                nameof(address));
    }

    internal static DmaBuffer Allocate(IommuHost host, ulong length, DmaBufferOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfZero(length);
        ulong small = (ulong)Libc.PageSize;
        int result = -Errno.EINVAL;
        foreach (ulong page in (ReadOnlySpan<ulong>)[DmaBufferOptions.Page1G, DmaBufferOptions.Page2M, small])
        {
            bool isSmall = page == small;
            if (page > Math.Max(options.PageSize, small) || (!options.AllowSmallerPages && page < options.PageSize))
            {
                continue;
            }

            ulong rounded = checked(length + page - 1) & ~(page - 1);
            result = TryAllocate(host.Kernel, rounded, page, isSmall, options, out DmaBuffer? buffer);
            if (buffer is not null)
            {
                if (isSmall && options.PageSize > small)
                {
                    _ = host.Kernel.Madvise(buffer.Address, (nuint)rounded, Libc.MADV_HUGEPAGE); // the second best: transparent huge pages
                }

                return buffer;
            }
        }

        throw Failure.Because(
            "mmap", result, FailureCause.NoMemory, "the memory cannot be allocated",
            options.AllowSmallerPages ? "Ask for less." : "Reserve huge pages (vm.nr_hugepages), or allow smaller ones.",
            Evidence.Hex("length", length), Evidence.Hex("page size", options.PageSize));
    }

    private static int TryAllocate(IKernel kernel, ulong length, ulong page, bool isSmall, DmaBufferOptions options, out DmaBuffer? buffer)
    {
        buffer = null;
        int huge = isSmall ? 0 : System.Numerics.BitOperations.Log2(page) << Libc.MAP_HUGE_SHIFT;
        MemFdHandle? file = null;
        int fd = -1, flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | (isSmall ? 0 : Libc.MAP_HUGETLB | huge);
        if (options.MemFd)
        {
            fd = kernel.MemFdCreate("dma-buffer", Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING | (isSmall ? 0 : Libc.MFD_HUGETLB | (uint)huge));
            if (fd < 0)
            {
                return fd;
            }

            file = new MemFdHandle(kernel, fd);
            int sized = kernel.Ftruncate(fd, checked((long)length));
            if (sized < 0)
            {
                file.Dispose();
                return sized;
            }

            _ = kernel.Fcntl(fd, Libc.F_ADD_SEALS, Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW); // its size is what we mapped, for ever
            flags = Libc.MAP_SHARED;
        }

        nint address = kernel.Mmap(0, checked((nuint)length), Libc.PROT_READ | Libc.PROT_WRITE, flags, fd, 0);
        if (address is < 0 and >= -4095)
        {
            file?.Dispose();
            return (int)address;
        }

        MappedMemory memory = new(kernel, address, (nuint)length);
        int node = options.NumaNode;
        if (node >= 0 && kernel.Mbind(address, (nuint)length, node) < 0)
        {
            node = -1; // a preference that the machine cannot follow; reported through NumaNode
        }

        buffer = new DmaBuffer(address, length, memory, file, page, node);
        return 0;
    }

    private protected override void Free()
    {
        _memory?.Dispose();
        _file?.Dispose();
    }

    private sealed class Manager(DmaBuffer buffer) : MemoryManager<byte>
    {
        public override Span<byte> GetSpan() => buffer.Span;

        public override MemoryHandle Pin(int elementIndex = 0)
        {
            buffer.Enter();
            return new MemoryHandle((byte*)buffer.Address + elementIndex, pinnable: this);
        }

        public override void Unpin() => buffer.Exit();

        protected override void Dispose(bool disposing)
        {
        }
    }
}
