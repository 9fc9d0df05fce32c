using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The RISC-V driver (drivers/iommu/riscv): first-stage domains. As in Linux 7.3 it claims no capability, so iommufd and VFIO refuse its devices.
/// </summary>
/// <remarks>
/// Does not model: ATS and page requests. Process directories and second stages are there for the proposal of 2021 only: Linux' driver has none of
/// them yet. <paramref name="isCoherent"/> stands for a kernel whose driver reports cache coherency, which Linux 7.3's does not.
/// </remarks>
/// <param name="isCoherent">The driver answers IOMMU_CAP_CACHE_COHERENCY.</param>
public sealed partial class RiscvOps(bool isCoherent) : IommuOps
{
    private readonly List<RiscvDriver> _units = [];
    private RiscvBlockedDomain? _blocked;

    /// <inheritdoc/>
    public override IommuDomain BlockedDomain => LazyInitializer.EnsureInitialized(ref _blocked, () => new RiscvBlockedDomain(this));

    /// <inheritdoc/>
    public override bool HasPagingFlags => false;

    /// <summary>Brings a unit up: every device's DMA is refused, commands and faults running.</summary>
    public void Probe(RiscvIommuUnit unit)
    {
        lock (_units)
        {
            _units.Add(new RiscvDriver(unit, Print) { Faulted = fault => Faulted?.Invoke(fault) });
        }
    }

    /// <inheritdoc/>
    public override bool Capable(IommuDevice device, IommuCapability capability) => isCoherent && capability == IommuCapability.CacheCoherency;

    /// <inheritdoc/>
    public override int DomainAllocPaging(IommuDevice device, uint flags, IommuUserData? data, out IommuDomain? domain)
    {
        domain = null;
        if (data != null || flags != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        domain = RiscvPagingDomain.TryCreate(this, IommuDomainType.Unmanaged, DriverOf(device));
        return domain == null ? -Errno.ENOMEM : 0;
    }

    /// <inheritdoc/>
    public override IommuDomain DomainAllocDefault(IommuDevice device) =>
        (IommuDomain?)RiscvPagingDomain.TryCreate(this, IommuDomainType.Dma, DriverOf(device)) ?? BlockedDomain;

    internal RiscvDriver DriverOf(IommuDevice device)
    {
        lock (_units)
        {
            return _units.Find(u => u.Unit == device.Unit) ?? throw new InvalidOperationException($"{device.Name}: its RISC-V IOMMU was not probed.");
        }
    }
}

/// <summary>All DMA faults: the device context is not valid.</summary>
internal sealed class RiscvBlockedDomain(RiscvOps owner) : IommuDomain(IommuDomainType.Blocked, owner)
{
    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var rc = ((RiscvOps)Owner).DriverOf(device).SetContext(device.RequesterId, isValid: false, 0, 0) ? 0 : -Errno.ENOMEM;
        (old as IRiscvAttached)?.Detached();
        return rc;
    }
}

/// <summary>A first-stage table of the widest mode, with its PSCID.</summary>
internal sealed class RiscvPagingDomain : TableDomain<RiscV64>, IRiscvAttached
{
    private readonly RiscvDriver _driver;
    private readonly int _pscid;

    private RiscvPagingDomain(RiscvOps owner, IommuDomainType type, RiscvDriver driver, PageTable<RiscV64> table)
        : base(owner, type, table, tracksDirty: false)
    {
        _driver = driver;
        _pscid = driver.AllocPscid();
        // Sign extension: the lower half.
        ApertureEnd = table.Geometry.InputMask >> 1;
    }

    internal static RiscvPagingDomain? TryCreate(RiscvOps owner, IommuDomainType type, RiscvDriver driver)
    {
        try
        {
            var memory = driver.Unit.Memory;
            var geometry = RiscV64.Sv(driver.AddressBits, memory.Options.AddressBits,
                PageTableFeatures.Contiguous | (driver.HasPbmt ? PageTableFeatures.Pbmt : 0));
            return new RiscvPagingDomain(owner, type, driver, new PageTable<RiscV64>(memory, geometry));
        }
        catch (InvalidOperationException)
        {
            // The arena is full.
            return null;
        }
    }

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((RiscvOps)Owner).DriverOf(device);
        if (driver != _driver)
        {
            return -Errno.ENODEV;
        }

        var mode = (ulong)(_driver.AddressBits switch { 39 => 8, 48 => 9, _ => 10 });
        if (!driver.SetContext(device.RequesterId, isValid: true, mode << 60 | Table.Root >> 12, _pscid))
        {
            return -Errno.ENOMEM;
        }

        (old as IRiscvAttached)?.Detached();
        return 0;
    }

    public override void Free()
    {
        base.Free();
        Detached();
        _driver.FreePscid(_pscid);
    }

    public void Detached() => _driver.InvalidatePages(_pscid, 0, ulong.MaxValue);

    protected override PageAttributes AttributesOf(IommuProt prot) => Attributes(prot);

    /// <summary>What a mapping's permissions are in every RISC-V table: accessed and dirty bits are set in advance.</summary>
    internal static PageAttributes Attributes(IommuProt prot) =>
        PageAttributes.User | PageAttributes.Execute | PageAttributes.Accessed
        | ((prot & IommuProt.Read) != 0 ? PageAttributes.Read : 0)
        | ((prot & IommuProt.Write) != 0 ? PageAttributes.Write | PageAttributes.Dirty : 0)
        | ((prot & IommuProt.Mmio) != 0 ? PageAttributes.Device : 0);

    protected override void Invalidate(ulong first, ulong last) => _driver.InvalidatePages(_pscid, first, last);
}
