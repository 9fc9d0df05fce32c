using System.Numerics;

namespace IommuFd;

/// <summary>A block of a <see cref="DmaPool"/>.</summary>
/// <param name="Index">Its number in the pool.</param>
/// <param name="Address">The process address.</param>
/// <param name="Iova">The device's address.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct DmaBlock(int Index, nint Address, ulong Iova, int Length)
{
    /// <summary>The block's bytes; devices may change them at any time.</summary>
    /// <remarks>Valid until the block is returned.</remarks>
    public unsafe Span<byte> Span => new((void*)Address, Length); // SAFETY: blocks come from a pool, which keeps their memory
}

/// <summary>
/// Mapped memory cut into blocks of one size, for descriptors and packets: renting and returning are lock-free and allocate nothing, and no ioctl is
/// involved. A block is aligned to its size, so one of up to a page never crosses a page.
/// </summary>
public sealed class DmaPool : Resource
{
    private readonly Mapping _mapping;
    private readonly int[] _next;
    private ulong _head; // index of the first free block + 1 in the low half, a count in the high half that makes every change visible

    private DmaPool(Mapping mapping, int blockSize, int count)
    {
        _mapping = mapping;
        BlockSize = blockSize;
        Count = count;
        _next = new int[count];
        for (int i = 0; i < count; i++)
        {
            _next[i] = i + 2 <= count ? i + 2 : 0;
        }

        _head = 1;
    }

    /// <summary>Bytes of a block.</summary>
    public int BlockSize { get; }

    /// <summary>How many blocks there are.</summary>
    public int Count { get; }

    /// <summary>Allocates memory and maps it.</summary>
    /// <param name="space">Where.</param>
    /// <param name="blockSize">Bytes of a block, a power of two.</param>
    /// <param name="count">How many, at least; the rest of the last page becomes blocks too.</param>
    /// <param name="access">What devices may do.</param>
    /// <param name="options">How the memory is allocated.</param>
    /// <exception cref="IommuFdException">No memory, or the locked-memory limit.</exception>
    public static DmaPool Create(IoAddressSpace space, int blockSize, int count, DmaAccess access = DmaAccess.ReadWrite,
        DmaBufferOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(space);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(blockSize);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        if (!BitOperations.IsPow2(blockSize))
        {
            throw new ArgumentException($"{blockSize} is no power of two.", nameof(blockSize));
        }

        using DmaBuffer buffer = space.Context.Host.AllocateBuffer((ulong)blockSize * (ulong)count, options); // lives on in the mapping
        return new DmaPool(space.Map(buffer, access), blockSize, checked((int)(buffer.Length / (ulong)blockSize)));
    }

    /// <summary>Takes a block. Allocates nothing.</summary>
    /// <exception cref="InvalidOperationException">All blocks are out.</exception>
    public DmaBlock Rent() => TryRent(out DmaBlock block) ? block : throw new InvalidOperationException($"All {Count} blocks of the pool are out.");

    /// <summary>Takes a block; false when all are out. Allocates nothing.</summary>
    public bool TryRent(out DmaBlock block)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        ulong head = Volatile.Read(ref _head);
        while ((uint)head != 0)
        {
            int index = (int)(uint)head - 1;
            ulong next = (((head >> 32) + 1) << 32) | (uint)Volatile.Read(ref _next[index]);
            ulong seen = Interlocked.CompareExchange(ref _head, next, head);
            if (seen == head)
            {
                ulong offset = (ulong)index * (ulong)BlockSize;
                block = new DmaBlock(index, _mapping.Buffer.Address + (nint)offset, _mapping.Iova + offset, BlockSize);
                return true;
            }

            head = seen;
        }

        block = default;
        return false;
    }

    /// <summary>Gives a block back, once. Allocates nothing.</summary>
    public void Return(in DmaBlock block)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)block.Index, (uint)Count, nameof(block));
        ulong head = Volatile.Read(ref _head);
        while (true)
        {
            Volatile.Write(ref _next[block.Index], (int)(uint)head);
            ulong next = (((head >> 32) + 1) << 32) | (uint)(block.Index + 1);
            ulong seen = Interlocked.CompareExchange(ref _head, next, head);
            if (seen == head)
            {
                return;
            }

            head = seen;
        }
    }

    private protected override void Free() => _mapping.Dispose();
}
