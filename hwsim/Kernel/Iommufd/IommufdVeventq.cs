using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// Events of a virtual IOMMU for its guest (struct iommufd_veventq). When more come than it holds, a lost-events header ends the queue.
/// </summary>
internal sealed unsafe class IommufdVeventq : IommufdObject
{
    private readonly IommufdViommu _viommu;
    private readonly uint _depth;
    private readonly Lock _lock = new();

    // Data null: the lost-events header, of which there is at most one, at the end.
    private readonly LinkedList<(uint Sequence, byte[]? Data)> _deliver = [];
    private uint _sequence;
    private uint _count;

    internal IommufdVeventq(IommufdContext context, IommufdViommu viommu, uint kind, uint depth)
        : base(IommufdObjectType.Veventq)
    {
        _viommu = viommu;
        Kind = kind;
        _depth = depth;
        QueueFile = new EventQueueFile(context, this, Read, null, HasEvents);
    }

    /// <summary>iommu_veventq_type.</summary>
    internal uint Kind { get; }

    internal EventQueueFile QueueFile { get; }

    internal override SimulatedFile File => QueueFile;

    /// <summary>An event happened; the sequence number counts lost ones too.</summary>
    internal void Deliver(ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            var lost = _count == _depth;

            // A real event, or a new header, takes the place of an old header.
            if (_deliver.Last is { Value.Data: null } header)
            {
                _deliver.Remove(header);
            }

            _deliver.AddLast((_sequence, lost ? null : data.ToArray()));
            _count += lost ? 0u : 1;
            _sequence = (_sequence + 1) & int.MaxValue;
        }

        QueueFile.Update();
    }

    // The list of the virtual IOMMU is locked.
    internal override void Abort()
    {
        _viommu.RemoveVeventq(this);
        _viommu.DropUser();
    }

    internal override void Destroy()
    {
        lock (_viommu.VeventqsLock)
        {
            Abort();
        }
    }

    private bool HasEvents()
    {
        lock (_lock)
        {
            return _deliver.Count != 0;
        }
    }

    private nint Read(ulong buffer, nuint count, IUserMemory user)
    {
        var headerSize = (nuint)sizeof(iommufd_vevent_header);
        if (count < headerSize)
        {
            return -Errno.EINVAL;
        }

        nuint done = 0;
        lock (_lock)
        {
            while (_deliver.First is { } node && count - done >= headerSize)
            {
                var (sequence, data) = node.Value;
                var length = (nuint)(data?.Length ?? 0);
                if (headerSize + length > count - done)
                {
                    return done == 0 ? -Errno.EINVAL : (nint)done;
                }

                var header = new iommufd_vevent_header { sequence = sequence, flags = data == null ? 1u : 0 };
                if (user.CopyTo(buffer + done, &header, headerSize) != 0)
                {
                    return done == 0 ? -Errno.EFAULT : (nint)done;
                }

                fixed (byte* bytes = data)
                {
                    if (length != 0 && user.CopyTo(buffer + done + headerSize, bytes, length) != 0)
                    {
                        return done == 0 ? -Errno.EFAULT : (nint)done;
                    }
                }

                _deliver.Remove(node);
                _count -= data == null ? 0u : 1;
                done += headerSize + length;
            }
        }

        return (nint)done;
    }
}
