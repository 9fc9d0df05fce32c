using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>A user's GCR3 table on top of a host table: all PASIDs of one device. DMA without a PASID stays in the host table.</summary>
internal sealed class AmdUserTableDomain : IommuDomain, IAmdAttached, IUserTableDomain
{
    private readonly AmdHostDomain _parent;
    private readonly ulong _table;
    private readonly int _levels;
    private IommuDevice? _device;

    internal AmdUserTableDomain(AmdOps owner, AmdHostDomain parent, ulong table, int pasidBits)
        : base(IommuDomainType.Nested, owner)
    {
        _parent = parent;
        _table = table;
        _levels = (pasidBits + 8) / 9;
        parent.Add(this);
    }

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((AmdOps)Owner).DriverOf(device);
        if (driver != _parent.Driver)
        {
            return -Errno.EINVAL;
        }

        (old as IAmdAttached)?.Detach(device, driver);
        _device = device;
        ParentChanged();
        return 0;
    }

    public void Detach(IommuDevice device, AmdDriver driver)
    {
        _device = null;
        driver.SetEntry(device.RequesterId, AmdDriver.Valid, 0, 0);
        driver.InvalidatePages(_parent.Id, null, 0, ulong.MaxValue);
    }

    public void Invalidate(in UserTableChange change)
    {
        if (_device is not { } device || (change.Device != null && change.Device != device))
        {
            return;
        }

        if (change.Has(Rfc.IOMMU_CACHE_INV_TYPE_PASID))
        {
            _parent.Driver.InvalidateEntry(device.RequesterId);
        }

        if (change.Has(Rfc.IOMMU_CACHE_INV_TYPE_IOTLB))
        {
            _parent.Driver.InvalidatePages(_parent.Id, change.Pasid, change.First, change.Last);
        }
    }

    public override void Free() => _parent.Remove(this);

    /// <summary>Writes the device's entry: the parent's root, and the user's table at a guest address.</summary>
    internal void ParentChanged()
    {
        if (_device is { } device)
        {
            _parent.Driver.SetEntry(
                device.RequesterId,
                _parent.EntryWord | AmdDriver.GuestValid | ((ulong)(_levels - 1) << 56) | ((_table >> 12 & 7) << 58),
                (uint)_parent.Id | ((_table >> 15 & 0xffff) << 16) | (_table >> 31 << 43),
                0);
        }
    }
}
