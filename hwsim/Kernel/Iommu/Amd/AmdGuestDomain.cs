using IommuFd.HwSim.PageTables;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A v2 page table behind GCR3 (PD_MODE_V2): for devices with and without PASID; a device's own DMA uses PASID 0.</summary>
internal sealed class AmdGuestDomain : TableDomain<X64>, IAmdAttached
{
    private readonly AmdDriver _driver;
    private readonly int _id;
    private readonly List<(IommuDevice Device, uint Pasid)> _users = [];

    private AmdGuestDomain(AmdOps owner, AmdDriver driver, PageTable<X64> table)
        : base(owner, IommuDomainType.Unmanaged, table, tracksDirty: false)
    {
        _driver = driver;
        _id = driver.AllocDomainId();
        ApertureEnd = table.Geometry.InputMask;
    }

    public override bool CanAttachPasid => true;

    internal static AmdGuestDomain? TryCreate(AmdOps owner, AmdDriver driver)
    {
        try
        {
            var memory = driver.Unit.Memory;
            return new AmdGuestDomain(owner, driver,
                new PageTable<X64>(memory, X64.Geometry(driver.HasGuestLevel5 ? 56 : 47, memory.Options.AddressBits)));
        }
        catch (InvalidOperationException)
        {
            // The arena is full.
            return null;
        }
    }

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((AmdOps)Owner).DriverOf(device);
        (old as IAmdAttached)?.Detach(device, driver);
        if (!AmdGcr3.Of(device, _driver, out var gcr3))
        {
            return -Errno.ENOMEM;
        }

        lock (Gate)
        {
            gcr3.Set(0, Table.Root);
            gcr3.IsInstalled = true;
            gcr3.DomainId = _id;
            _users.Add((device, 0));
            var levels = _driver.HasGuestLevel5 ? 1UL << 54 : 0;
            var root = gcr3.Root;
            driver.SetEntry(
                device.RequesterId,
                AmdDriver.Valid | AmdDriver.ReadWrite | AmdDriver.GuestValid | AmdDriver.GuestIo | ((ulong)(driver.GcrLevels - 1) << 56)
                    | ((root >> 12 & 7) << 58),
                (uint)_id | ((root >> 15 & 0xffff) << 16) | (root >> 31 << 43),
                levels);
            driver.InvalidatePages(_id, 0, 0, ulong.MaxValue);
            return 0;
        }
    }

    public override int SetDevicePasid(IommuDevice device, uint pasid, IommuDomain? old)
    {
        // The device itself must be on a v2 table: a v1 table would be nested under the PASID's.
        if (pasid == 0 || device.DriverData is not AmdGcr3 gcr3 || !gcr3.IsInstalled)
        {
            return -Errno.EINVAL;
        }

        (old as AmdGuestDomain)?.Forget(device, pasid);
        lock (Gate)
        {
            if (!gcr3.Set(pasid, Table.Root))
            {
                return -Errno.ENOMEM;
            }

            _users.Add((device, pasid));
            gcr3.Flush(pasid);
            return 0;
        }
    }

    internal void ClearPasid(IommuDevice device, uint pasid)
    {
        Forget(device, pasid);
        if (device.DriverData is AmdGcr3 gcr3)
        {
            gcr3.Set(pasid, 0);
            gcr3.Flush(pasid);
        }
    }

    public void Detach(IommuDevice device, AmdDriver driver)
    {
        Forget(device, 0);
        driver.SetEntry(device.RequesterId, AmdDriver.Valid, 0, 0);
        driver.InvalidatePages(_id, 0, 0, ulong.MaxValue);
        if (device.DriverData is AmdGcr3 gcr3)
        {
            gcr3.Set(0, 0);
            gcr3.IsInstalled = false;
        }
    }

    public override bool EnforceCacheCoherency() => true;

    public override void Free()
    {
        base.Free();
        _driver.FreeDomainId(_id);
    }

    protected override PageAttributes AttributesOf(IommuProt prot) =>
        PageAttributes.User | PageAttributes.Execute | PageAttributes.Accessed
        | ((prot & IommuProt.Read) != 0 ? PageAttributes.Read : 0)
        | ((prot & IommuProt.Write) != 0 ? PageAttributes.Write | PageAttributes.Dirty : 0);

    // The unit tags by the domain of the device table entry and the PASID.
    protected override void Invalidate(ulong first, ulong last)
    {
        foreach (var (device, pasid) in _users)
        {
            var id = device.DriverData is AmdGcr3 { DomainId: var of } ? of : _id;
            _driver.InvalidatePages(id, pasid, first, last);
        }
    }

    private void Forget(IommuDevice device, uint pasid)
    {
        lock (Gate)
        {
            _users.Remove((device, pasid));
        }
    }
}
