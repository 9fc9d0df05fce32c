using IommuFd.HwSim.PageTables;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A second-stage table (Sv48x4) with its GSCID: the kernel's table below a user's.</summary>
internal sealed class RiscvSecondStageDomain : TableDomain<RiscV64>, IRiscvAttached
{
    private const ulong Sv48x4 = 9UL << 60;
    private readonly RiscvDriver _driver;
    private readonly int _gscid;

    private RiscvSecondStageDomain(RiscvOps owner, RiscvDriver driver, PageTable<RiscV64> table)
        : base(owner, IommuDomainType.Unmanaged, table, tracksDirty: false)
    {
        _driver = driver;
        _gscid = driver.AllocGscid();
        ApertureEnd = table.Geometry.InputMask;
    }

    /// <summary>The driver of its unit.</summary>
    internal RiscvDriver Driver => _driver;

    /// <summary>The tag of everything that goes through the table.</summary>
    internal int Gscid => _gscid;

    /// <summary>iohgatp.</summary>
    internal ulong Pointer => Sv48x4 | ((ulong)_gscid << 44) | (Table.Root >> 12);

    internal static RiscvSecondStageDomain? TryCreate(RiscvOps owner, RiscvDriver driver)
    {
        try
        {
            var memory = driver.Unit.Memory;
            var geometry = RiscV64.SvX4(48, memory.Options.AddressBits, PageTableFeatures.Contiguous | (driver.HasPbmt ? PageTableFeatures.Pbmt : 0));
            return new RiscvSecondStageDomain(owner, driver, new PageTable<RiscV64>(memory, geometry));
        }
        catch (InvalidOperationException)
        {
            // The arena is full.
            return null;
        }
    }

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        if (((RiscvOps)Owner).DriverOf(device) != _driver || !_driver.SetContext(device.RequesterId, new RiscvDeviceContext(1, Pointer, 0, 0)))
        {
            return -Errno.ENODEV;
        }

        (old as IRiscvAttached)?.Detached();
        return 0;
    }

    public void Detached() => _driver.InvalidateGuest(_gscid, firstStages: false);

    public override void Free()
    {
        base.Free();
        Detached();
        _driver.FreeGscid(_gscid);
    }

    protected override PageAttributes AttributesOf(IommuProt prot) => RiscvPagingDomain.Attributes(prot);

    protected override void Invalidate(ulong first, ulong last) => Detached();
}

/// <summary>A domain that has a device context's words point at it.</summary>
internal interface IRiscvAttached
{
    /// <summary>A device has another domain now.</summary>
    void Detached();
}
