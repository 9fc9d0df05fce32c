using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The fault region of a space: a file of records, each read once, whole records only, and readable (poll) while there is one. The user's eventfd is
/// signalled when records arrive. Once it is mapped the records are in the mapping, for who reads them there and for read(2).
/// </summary>
/// <remarks>
/// Does not model: that poll(2) sees a record go which the user consumed in the mapping; it does when the next one comes or read(2) is called. Who
/// maps waits for the eventfd.
/// </remarks>
internal sealed unsafe class RfcFaultRegion : SimulatedFile
{
    private readonly RfcFaults _faults;
    private readonly RfcContext _context;
    private readonly EventfdContext? _eventfd;
    private readonly uint _capacity;
    private readonly Lock _lock = new();
    private readonly List<iommu_ioasid_fault> _records = [];
    private RfcFaultRing? _ring;
    private bool _lost;
    private bool _isReadable;

    internal RfcFaultRegion(RfcFaults faults, RfcContext context, EventfdContext? eventfd, uint capacity)
    {
        _faults = faults;
        _context = context;
        _eventfd = eventfd;
        _capacity = capacity;
        context.Get();
    }

    /// <inheritdoc/>
    public override bool HasReadiness => true;

    /// <inheritdoc/>
    public override nint Read(ulong buffer, nuint count, IUserMemory user)
    {
        nuint size = (nuint)sizeof(iommu_ioasid_fault), done = 0;
        if (count < size)
        {
            return -Errno.EINVAL;
        }

        nint result = 0;
        lock (_lock)
        {
            while (count - done >= size && TryTake(out iommu_ioasid_fault record))
            {
                if (user.CopyTo(buffer + done, &record, size) < 0)
                {
                    PutBack(record);
                    result = -Errno.EFAULT;
                    break;
                }

                done += size;
            }

            Update();
        }

        return done != 0 ? (nint)done : result;
    }

    /// <inheritdoc/>
    public override nint Pread(ulong buffer, nuint count, long offset, IUserMemory user) => -Errno.ESPIPE;

    /// <inheritdoc/>
    public override nint Mmap(nint address, nuint length, int protection, int flags, long offset)
    {
        int error = MapSource(length, protection, flags, offset, out int descriptor);
        if (error < 0)
        {
            return error;
        }

        nint mapped = Libc.Mmap(address, length, protection, flags, descriptor, offset);
        return mapped == -1 ? -Marshal.GetLastPInvokeError() : mapped;
    }

    /// <inheritdoc/>
    public override int MapSource(nuint length, int protection, int flags, long offset, out int descriptor)
    {
        const int execute = 4;
        descriptor = -1;
        if ((flags & Libc.MAP_SHARED) == 0 || (protection & execute) != 0 || offset != 0 || length == 0 || length > RfcFaultRing.Size(_capacity))
        {
            return -Errno.EINVAL;
        }

        lock (_lock)
        {
            if (_ring is null)
            {
                _ring = RfcFaultRing.Make(_capacity);
                if (_ring is null)
                {
                    return -Errno.ENOMEM;
                }

                _ = _ring.TryAdd(CollectionsMarshal.AsSpan(_records));
                _records.Clear();
            }

            descriptor = _ring.Descriptor;
            return 0;
        }
    }

    /// <summary>Queues the records of a group; false when there is no room, which the next record tells.</summary>
    internal bool TryAdd(iommu_ioasid_fault[] records)
    {
        lock (_lock)
        {
            records[0].flags |= _lost ? Rfc.IOMMU_IOASID_FAULT_LOST : 0;
            bool fits = _ring?.TryAdd(records) ?? _records.Count + records.Length <= _capacity;
            if (fits && _ring is null)
            {
                _records.AddRange(records);
            }

            _lost = !fits;
            return fits;
        }
    }

    /// <summary>Takes back the records of a request.</summary>
    internal void Remove(uint id)
    {
        lock (_lock)
        {
            _records.RemoveAll(r => r.fault_id == id);
            _ring?.End(id);
            Update();
        }
    }

    /// <summary>Tells the user that records arrived.</summary>
    internal void Announce()
    {
        lock (_lock)
        {
            Update();
        }

        _eventfd?.Signal();
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        _faults.RemoveRegion();
        _eventfd?.Dispose();
        _ring?.Dispose();
        _context.Put();
    }

    private bool TryTake(out iommu_ioasid_fault record)
    {
        if (_ring is not null)
        {
            return _ring.TryTake(out record);
        }

        record = _records.Count == 0 ? default : _records[0];
        if (_records.Count == 0)
        {
            return false;
        }

        _records.RemoveAt(0);
        return true;
    }

    private void PutBack(in iommu_ioasid_fault record)
    {
        if (_ring is not null)
        {
            _ring.Return();
        }
        else
        {
            _records.Insert(0, record);
        }
    }

    private void Update()
    {
        bool readable = _ring?.HasRecords ?? _records.Count != 0;
        if (readable != _isReadable)
        {
            _isReadable = readable;
            SetReadable(readable);
        }
    }
}
