using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The fault region of a space: a file of records, each read once, whole records only, and readable (poll) while there is one. The user's eventfd is
/// signalled when records arrive.
/// </summary>
internal sealed unsafe class RfcFaultRegion : SimulatedFile
{
    private readonly RfcFaults _faults;
    private readonly RfcContext _context;
    private readonly EventfdContext? _eventfd;
    private readonly uint _capacity;
    private readonly Lock _lock = new();
    private readonly List<iommu_ioasid_fault> _records = [];
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
            while (_records.Count != 0 && count - done >= size)
            {
                iommu_ioasid_fault record = _records[0];
                if (user.CopyTo(buffer + done, &record, size) < 0)
                {
                    result = -Errno.EFAULT;
                    break;
                }

                _records.RemoveAt(0);
                done += size;
            }

            Update();
        }

        return done != 0 ? (nint)done : result;
    }

    /// <inheritdoc/>
    public override nint Pread(ulong buffer, nuint count, long offset, IUserMemory user) => -Errno.ESPIPE;

    /// <summary>Queues the records of a group; false when there is no room, which the next record tells.</summary>
    internal bool TryAdd(iommu_ioasid_fault[] records)
    {
        lock (_lock)
        {
            if (_records.Count + records.Length > _capacity)
            {
                _lost = true;
                return false;
            }

            records[0].flags |= _lost ? Rfc.IOMMU_IOASID_FAULT_LOST : 0;
            _lost = false;
            _records.AddRange(records);
            return true;
        }
    }

    /// <summary>Takes back the records of a request.</summary>
    internal void Remove(uint id)
    {
        lock (_lock)
        {
            _records.RemoveAll(r => r.fault_id == id);
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
        _context.Put();
    }

    private void Update()
    {
        bool readable = _records.Count != 0;
        if (readable != _isReadable)
        {
            _isReadable = readable;
            SetReadable(readable);
        }
    }
}
