using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Kernel;

/// <summary>A host (v1) page table: starts with three levels and grows at the top (PD_MODE_V1).</summary>
internal sealed class AmdHostDomain : TableDomain<AmdV1>, IAmdAttached
{
    private readonly AmdDriver _driver;
    private readonly int _id;
    private readonly List<IommuDevice> _devices = [];
    private readonly List<AmdUserTableDomain> _above = [];
    private readonly HashSet<ulong> _gcr3s = [];
    private bool _tracking;

    private AmdHostDomain(AmdOps owner, IommuDomainType type, AmdDriver driver, PageTable<AmdV1> table, bool tracksDirty)
        : base(owner, type, table, tracksDirty)
    {
        _driver = driver;
        _id = driver.AllocDomainId();
        ApertureEnd = driver.HostBits >= 64 ? ulong.MaxValue : (1UL << driver.HostBits) - 1;
    }

    internal static AmdHostDomain? TryCreate(AmdOps owner, IommuDomainType type, AmdDriver driver, bool tracksDirty)
    {
        const PageTableFeatures Features = PageTableFeatures.DynamicTop | PageTableFeatures.ForceCoherent;
        try
        {
            var memory = driver.Unit.Memory;
            var geometry = AmdV1.Geometry(3, memory.Options.AddressBits, Features | (tracksDirty ? PageTableFeatures.DirtyTracking : 0));
            return new AmdHostDomain(owner, type, driver, new PageTable<AmdV1>(memory, geometry), tracksDirty);
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
        lock (Gate)
        {
            _devices.Add(device);
            SetEntry(device);
        }

        return 0;
    }

    public void Detach(IommuDevice device, AmdDriver driver)
    {
        lock (Gate)
        {
            _devices.Remove(device);
            driver.SetEntry(device.RequesterId, AmdDriver.Valid, 0, 0);
            driver.InvalidatePages(_id, null, 0, ulong.MaxValue);
        }
    }

    public override bool EnforceCacheCoherency() => true;

    public override int SetDirtyTracking(bool enable)
    {
        lock (Gate)
        {
            if (_tracking != enable)
            {
                _tracking = enable;
                OnRootChanged();
                Invalidate(0, ulong.MaxValue);
            }

            return 0;
        }
    }

    public override void Free()
    {
        base.Free();
        _driver.FreeDomainId(_id);
    }

    protected override PageAttributes AttributesOf(IommuProt prot) =>
        ((prot & IommuProt.Read) != 0 ? PageAttributes.Read : 0) | ((prot & IommuProt.Write) != 0 ? PageAttributes.Write : 0);

    protected override void Invalidate(ulong first, ulong last)
    {
        _driver.InvalidatePages(_id, null, first, last);
        _above.ForEach(static user => user.InvalidateAll());
    }

    protected override void OnRootChanged()
    {
        _devices.ForEach(SetEntry);
        _above.ForEach(static user => user.ParentChanged());
    }

    /// <summary>The driver of its unit.</summary>
    internal AmdDriver Driver => _driver;

    /// <summary>Maps the GCR3 table in front of a user's v2 table for the unit to read: where interrupts are, and no memory can be.</summary>
    internal bool TryMapGcr3(ulong physical, out ulong at)
    {
        const ulong Page = 4096;
        ReservedRegion window = AmdOps.Regions[0];
        lock (_gcr3s)
        {
            ulong slot = 0;
            while (_gcr3s.Contains(slot))
            {
                slot++;
            }

            at = window.Start + (slot * Page);
            return slot < window.Length / Page && Map(at, physical, Page, IommuProt.Read) == 0 && _gcr3s.Add(slot);
        }
    }

    /// <summary>Undoes it.</summary>
    internal void UnmapGcr3(ulong at)
    {
        lock (_gcr3s)
        {
            _ = Unmap(at, 4096);
            _gcr3s.Remove((at - AmdOps.Regions[0].Start) / 4096);
        }
    }

    /// <summary>The part of a device table entry that points at this table.</summary>
    internal ulong EntryWord =>
        AmdDriver.Valid | AmdDriver.ReadWrite | ((ulong)(Table.Geometry.TopLevel + 1) << 9) | Table.Root
            | (_tracking ? AmdDriver.HostAccessedDirty : 0);

    /// <summary>A user's table uses this one; it is told when the root moves.</summary>
    internal void Add(AmdUserTableDomain user)
    {
        lock (Gate)
        {
            _above.Add(user);
        }
    }

    /// <summary>Undoes <see cref="Add"/>.</summary>
    internal void Remove(AmdUserTableDomain user)
    {
        lock (Gate)
        {
            _above.Remove(user);
        }
    }

    private void SetEntry(IommuDevice device) => _driver.SetEntry(device.RequesterId, EntryWord, (uint)_id, 0);
}
