using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>Events of a virtual IOMMU (IOMMUFD_OBJ_VEVENTQ).</summary>
public sealed unsafe partial class VirtualEventQueue : Resource
{
    private readonly VirtualIommu _iommu;
    private readonly VirtualEventQueueHandle _handle;
    private readonly ReadableWaiter _waiter;

    internal VirtualEventQueue(VirtualIommu iommu, uint id, VirtualEventQueueHandle handle, iommu_veventq_type type)
        : base(iommu)
    {
        _iommu = iommu;
        _handle = handle;
        Id = id;
        Type = type;
        _waiter = new ReadableWaiter(iommu.Context.Host, handle, this);
    }

    /// <summary>The object id.</summary>
    public uint Id { get; }

    /// <summary>The kind of events.</summary>
    public iommu_veventq_type Type { get; }

    /// <summary>Bytes of an event's data; it follows every iommufd_vevent_header that does not say "lost".</summary>
    public int DataSize => Type switch
    {
        iommu_veventq_type.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 => sizeof(iommu_vevent_arm_smmuv3),
        iommu_veventq_type.IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV => sizeof(iommu_vevent_tegra241_cmdqv),
        _ => 0,
    };

    /// <summary>Reads whole headers and their data, without waiting. Allocates nothing.</summary>
    /// <returns>Bytes read; 0 when no event is there.</returns>
    /// <exception cref="IommuFdException">EINVAL the buffer does not hold one event.</exception>
    public int Read(Span<byte> buffer)
    {
        nint result;
        fixed (byte* pointer = buffer)
        {
            // SAFETY: the buffer is pinned for the call and as long as stated.
            result = _handle.Read((nint)pointer, (nuint)buffer.Length);
        }

        return result >= 0 ? (int)result : result == -Errno.EAGAIN ? 0 : throw Failure.Of("read virtual events", (int)result);
    }

    /// <summary>Splits what <see cref="Read"/> gave into its first event and the rest.</summary>
    /// <returns>False when the bytes hold no whole event.</returns>
    public bool TryParse(ReadOnlySpan<byte> bytes, out iommufd_vevent_header header, out ReadOnlySpan<byte> data, out ReadOnlySpan<byte> rest)
    {
        data = default;
        rest = default;
        if (!MemoryMarshal.TryRead(bytes, out header))
        {
            return false;
        }

        bytes = bytes[sizeof(iommufd_vevent_header)..];
        int length = (header.flags & (uint)iommu_veventq_flag.IOMMU_VEVENTQ_FLAG_LOST_EVENTS) != 0 ? 0 : DataSize;
        if (bytes.Length < length)
        {
            return false;
        }

        data = bytes[..length];
        rest = bytes[length..];
        return true;
    }

    /// <summary>Waits until there is something to read. One wait at a time.</summary>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The queue was disposed, before or during the wait.</exception>
    public ValueTask WaitAsync(CancellationToken cancellation = default) => _waiter.WaitReadableAsync(cancellation);

    private protected override void Disposing() => _waiter.Dispose();

    private protected override void Free() => _ = _iommu.Context.Destroy(Id);
}
