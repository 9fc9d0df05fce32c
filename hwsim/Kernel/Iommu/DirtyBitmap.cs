using System.Numerics;

namespace IommuFd.HwSim.Kernel;

/// <summary>A user's bitmap of dirty pages (struct iova_bitmap): bit n stands for the n-th page from the first IOVA.</summary>
/// <remarks>A part of the bitmap that cannot be written is skipped, as the kernel does.</remarks>
/// <param name="user">The caller's memory.</param>
/// <param name="address">User address of the bitmap.</param>
/// <param name="iova">IOVA of bit 0.</param>
/// <param name="length">Bytes of IOVA that the bitmap covers.</param>
/// <param name="pageSize">Bytes of IOVA per bit; its lowest set bit counts.</param>
public sealed unsafe class DirtyBitmap(IUserMemory user, ulong address, ulong iova, ulong length, ulong pageSize)
{
    private readonly int _shift = BitOperations.TrailingZeroCount(pageSize);
    private ulong _offset;

    /// <summary>The same bitmap for another address space: <paramref name="offset"/> is added to what it records, modulo 2^64.</summary>
    public DirtyBitmap Shifted(ulong offset) => new(user, address, iova, length, pageSize) { _offset = _offset + offset };

    /// <summary>Sets the bits of a dirty range (iommu_dirty_bitmap_record).</summary>
    public void Record(ulong first, ulong size)
    {
        first += _offset;
        if (size == 0 || first < iova)
        {
            return;
        }

        var lastBit = ulong.Min((first + size - 1 - iova) >> _shift, ((((length - 1) >> _shift) / 8) * 8) + 7);
        for (var bit = (first - iova) >> _shift; bit <= lastBit;)
        {
            var inByte = (int)(bit % 8);
            var count = (int)ulong.Min((ulong)(8 - inByte), lastBit - bit + 1);
            byte value;
            if (user.CopyFrom(address + (bit / 8), &value, 1) == 0)
            {
                value |= (byte)(((1 << count) - 1) << inByte);
                _ = user.CopyTo(address + (bit / 8), &value, 1);
            }

            bit += (ulong)count;
        }
    }
}
