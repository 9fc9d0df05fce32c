using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A user's GCR3 table on top of a host table: all PASIDs of one device, whose DMA without a PASID stays in the host table. Or one v2 table of the
/// user, for DMA without a PASID (GIoV): the GCR3 table in front of it is the kernel's, and because it is read through the host table (GCR3TRPMode),
/// it is mapped there, read-only, in the range that devices cannot reach because interrupts are there.
/// </summary>
internal sealed class AmdUserTableDomain : IommuDomain, IAmdAttached, IUserTableDomain
{
    private readonly AmdHostDomain _parent;
    private readonly ulong _table;
    private readonly int _levels;
    private readonly ulong _gcr3;
    private readonly int _id;
    private readonly List<IommuDevice> _devices = [];

    internal AmdUserTableDomain(AmdOps owner, AmdHostDomain parent, ulong table, int pasidBits, ulong gcr3 = 0)
        : base(IommuDomainType.Nested, owner)
    {
        _parent = parent;
        _table = table;
        _levels = (pasidBits + 8) / 9;
        _gcr3 = gcr3;
        _id = parent.Driver.AllocDomainId();
        parent.Add(this);
    }

    /// <summary>One table of the user's; -ENOMEM without memory for the GCR3 table and its mapping, or when there is no room in the range.</summary>
    internal static int MakeSingle(AmdOps owner, AmdHostDomain parent, ulong table, out IommuDomain? domain)
    {
        domain = null;
        PhysicalMemory memory = parent.Driver.Unit.Memory;
        ulong gcr3 = memory.Allocate();
        if (gcr3 == 0)
        {
            return -Errno.ENOMEM;
        }

        if (!parent.TryMapGcr3(gcr3, out ulong at))
        {
            memory.Free(gcr3);
            return -Errno.ENOMEM;
        }

        memory.Write64(gcr3, table | 1);
        domain = new AmdUserTableDomain(owner, parent, at, pasidBits: 9, gcr3);
        return 0;
    }

    /// <summary>What the host table's owner does when something of it changes: guest addresses can be under any of it.</summary>
    internal void InvalidateAll() => _parent.Driver.InvalidatePages(_id, null, 0, ulong.MaxValue);

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((AmdOps)Owner).DriverOf(device);
        if (driver != _parent.Driver)
        {
            return -Errno.EINVAL;
        }

        (old as IAmdAttached)?.Detach(device, driver);
        _devices.Add(device);
        SetEntry(device);
        return 0;
    }

    public void Detach(IommuDevice device, AmdDriver driver)
    {
        _devices.Remove(device);
        driver.SetEntry(device.RequesterId, AmdDriver.Valid, 0, 0);
        InvalidateAll();
    }

    public void Invalidate(in UserTableChange change)
    {
        foreach (IommuDevice device in _devices)
        {
            if (change.Has(Rfc.IOMMU_CACHE_INV_TYPE_PASID) && (change.Device == null || change.Device == device))
            {
                _parent.Driver.InvalidateEntry(device.RequesterId);
            }
        }

        if (change.Has(Rfc.IOMMU_CACHE_INV_TYPE_IOTLB))
        {
            _parent.Driver.InvalidatePages(_id, _gcr3 != 0 ? 0 : change.Pasid, change.First, change.Last);
        }
    }

    public override void Free()
    {
        _parent.Remove(this);
        if (_gcr3 != 0)
        {
            _parent.UnmapGcr3(_table);
            _parent.Driver.Unit.Memory.Free(_gcr3);
        }

        InvalidateAll();
        _parent.Driver.FreeDomainId(_id);
    }

    /// <summary>The parent's root moved.</summary>
    internal void ParentChanged() => _devices.ForEach(SetEntry);

    // The parent's root, and the table of PASIDs at a guest address. The domain id is this table's own: two tables have the same PASIDs.
    private void SetEntry(IommuDevice device) => _parent.Driver.SetEntry(
        device.RequesterId,
        _parent.EntryWord | AmdDriver.GuestValid | (_gcr3 != 0 ? AmdDriver.GuestIo : 0) | ((ulong)(_levels - 1) << 56) | ((_table >> 12 & 7) << 58),
        (uint)_id | ((_table >> 15 & 0xffff) << 16) | (_table >> 31 << 43),
        0);
}
