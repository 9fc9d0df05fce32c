using IommuFd;

namespace NvmeDriver;

/// <summary>
/// Rings doorbells: in the registers, or in memory with the register written only when the controller's event index is passed (NVMe 1.4 sections 3.1.24 and 7.13).
/// </summary>
internal sealed class Doorbells(Bar registers, int stride)
{
    private DmaBuffer? _shadow, _events;

    /// <summary>Register writes that shadow doorbells saved.</summary>
    public long Saved { get; private set; }

    /// <summary>Uses shadow doorbells from now on, for queues that are not the admin queue.</summary>
    public void UseShadow(DmaBuffer? shadow, DmaBuffer? events) => (_shadow, _events) = (shadow, events);

    /// <summary>Tells of a new tail (of a submission queue) or head (of a completion queue).</summary>
    public void Ring(int queue, bool completion, uint value)
    {
        ulong offset = (ulong)(((2 * queue) + (completion ? 1 : 0)) * stride);
        if (_shadow is not null && queue != 0)
        {
            ref uint shadow = ref _shadow.At<uint>(offset);
            uint old = shadow;
            Interlocked.MemoryBarrier(); // the entries are in memory before the index is
            Volatile.Write(ref shadow, value);
            Interlocked.MemoryBarrier(); // and the index before the controller's is read
            uint wanted = Volatile.Read(ref _events!.At<uint>(offset));
            if ((ushort)(value - wanted - 1) >= (ushort)(value - old))
            {
                Saved++;
                return;
            }
        }

        Interlocked.MemoryBarrier(); // the entries are in memory before the device is told of them
        registers.Write32(0x1000 + offset, value);
    }
}
