using IommuFd.HwSim.PageTables;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A second-stage table and the devices that use it (struct dmar_domain).</summary>
internal sealed class VtdPagingDomain : IommuDomain
{
    private readonly Lock _lock = new();
    private readonly PageTable<VtdSecondStage> _table;
    private readonly int _width;
    private readonly int _inputBits;

    // One per unit; the same domain has another id on each.
    private readonly List<UnitUse> _units = [];
    private bool _forceCoherence;

    private VtdPagingDomain(VtdOps owner, IommuDomainType type, PageTable<VtdSecondStage> table, int width, int inputBits)
        : base(type, owner)
    {
        _table = table;
        _width = width;
        _inputBits = inputBits;
        PageSizeBitmap = table.PageSizes;
        ApertureEnd = (1UL << inputBits) - 1;
    }

    /// <summary>The root of the table, for whoever wants to walk it.</summary>
    internal ulong Root => _table.Root;

    private sealed class UnitUse(VtdDriver driver, int id)
    {
        public VtdDriver Driver { get; } = driver;

        public int Id { get; } = id;

        public int Devices { get; set; }
    }

    /// <summary>The widest table that CAP.MGAW and CAP.SAGAW both allow (compute_vasz_lg2_ss); null when the arena is full.</summary>
    internal static VtdPagingDomain? TryCreate(VtdOps owner, IommuDomainType type, VtdDriver driver)
    {
        var (width, bits) = driver switch
        {
            { Mgaw: > 48, Sagaw: >= 8 } => (57, Math.Min(57, driver.Mgaw)),
            { Mgaw: > 39, Sagaw: >= 4 } => ((driver.Sagaw & 4) != 0 ? 48 : 57, Math.Min(48, driver.Mgaw)),
            _ => ((driver.Sagaw & 2) != 0 ? 39 : (driver.Sagaw & 4) != 0 ? 48 : 57, Math.Min(39, driver.Mgaw)),
        };
        var sizes = 0x1000UL | ((driver.LargePages & 1) != 0 ? 0x20_0000UL : 0) | ((driver.LargePages & 2) != 0 ? 0x4000_0000UL : 0);
        var memory = driver.Unit.Memory;
        try
        {
            var table = new PageTable<VtdSecondStage>(memory, VtdSecondStage.Geometry(width, memory.Options.AddressBits, pageSizes: sizes));
            return new VtdPagingDomain(owner, type, table, width, bits);
        }
        catch (InvalidOperationException)
        {
            // The arena is full.
            return null;
        }
    }

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((VtdOps)Owner).DriverOf(device);
        if (old is VtdPagingDomain before)
        {
            before.Detach(device, driver);
        }

        if (driver.Mgaw < _inputBits || (driver.Sagaw & (1 << ((_width - 30) / 9))) == 0 || (PageSizeBitmap & ~(0x1000UL | Large(driver))) != 0)
        {
            return -Errno.EINVAL;
        }

        lock (_lock)
        {
            var use = _units.Find(u => u.Driver == driver);
            if (use == null)
            {
                use = new UnitUse(driver, driver.AllocDomainId());
                _units.Add(use);
            }

            use.Devices++;
            driver.SetContext(device.RequesterId, use.Id, _table.Root, (_width - 30) / 9);
            return 0;
        }
    }

    public override int Map(ulong iova, ulong physical, ulong size, IommuProt prot)
    {
        var attributes = PageAttributes.None;
        attributes |= (prot & IommuProt.Read) != 0 ? PageAttributes.Read : 0;
        attributes |= (prot & IommuProt.Write) != 0 ? PageAttributes.Write : 0;
        attributes |= _forceCoherence ? PageAttributes.Coherent : 0;
        lock (_lock)
        {
            var rc = _table.Map(iova, physical, size, attributes);
            if (rc != 0)
            {
                return rc;
            }

            foreach (var use in _units)
            {
                if (use.Driver.HasCachingMode)
                {
                    use.Driver.InvalidatePages(use.Id, iova, iova + size - 1);
                }
            }

            return 0;
        }
    }

    public override ulong Unmap(ulong iova, ulong size)
    {
        lock (_lock)
        {
            ulong done = 0;
            while (done < size)
            {
                var step = _table.Unmap(iova + done, size - done);
                if (step == 0)
                {
                    break;
                }

                done += step;
            }

            foreach (var use in _units)
            {
                use.Driver.InvalidatePages(use.Id, iova, iova + size - 1);
            }

            return done;
        }
    }

    public override ulong IovaToPhys(ulong iova)
    {
        lock (_lock)
        {
            return _table.TryTranslate(iova, out var physical) ? physical : 0;
        }
    }

    public override bool EnforceCacheCoherency()
    {
        lock (_lock)
        {
            _forceCoherence = _units.TrueForAll(u => u.Driver.HasSnoopControl);
            return _forceCoherence;
        }
    }

    public override void Free()
    {
        lock (_lock)
        {
            _table.Dispose();
        }
    }

    internal void Detach(IommuDevice device, VtdDriver driver)
    {
        driver.ClearContext(device.RequesterId);
        lock (_lock)
        {
            var use = _units.Find(u => u.Driver == driver);
            if (use != null && --use.Devices == 0)
            {
                driver.FreeDomainId(use.Id);
                _units.Remove(use);
            }
        }
    }

    private static ulong Large(VtdDriver driver) =>
        ((driver.LargePages & 1) != 0 ? 0x20_0000UL : 0) | ((driver.LargePages & 2) != 0 ? 0x4000_0000UL : 0);
}

/// <summary>All DMA faults: the context entry is not present.</summary>
internal sealed class VtdBlockedDomain(VtdOps owner) : IommuDomain(IommuDomainType.Blocked, owner)
{
    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        if (old is VtdPagingDomain before)
        {
            before.Detach(device, ((VtdOps)Owner).DriverOf(device));
        }

        return 0;
    }
}
