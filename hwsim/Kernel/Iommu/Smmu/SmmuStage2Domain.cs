using IommuFd.HwSim.PageTables;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A stage-2 table with its VMID: nest parents, and all domains where there is no stage 1.</summary>
internal sealed class SmmuStage2Domain : TableDomain<ArmStage2>, ISmmuAttached
{
    private readonly SmmuDriver _driver;
    private readonly int _vmid;
    private readonly HashSet<int> _descriptors = [];

    private SmmuStage2Domain(SmmuOps owner, IommuDomainType type, SmmuDriver driver, PageTable<ArmStage2> table)
        : base(owner, type, table, tracksDirty: false)
    {
        _driver = driver;
        _vmid = driver.AllocVmid();
        ApertureEnd = table.Geometry.InputMask;
    }

    internal SmmuDriver Driver => _driver;

    internal int Vmid => _vmid;

    /// <summary>The stream table entry that puts a stream behind this table alone.</summary>
    internal ulong[] StreamEntry => [1 | (6UL << 1), 1UL << 44, Word2, Table.Root];

    internal static SmmuStage2Domain? TryCreate(SmmuOps owner, IommuDomainType type, SmmuDriver driver)
    {
        try
        {
            var geometry = ArmStage2.Geometry(12, driver.OutputBits, driver.OutputBits, 0);
            return new SmmuStage2Domain(owner, type, driver, new PageTable<ArmStage2>(driver.Unit.Memory, geometry));
        }
        catch (InvalidOperationException)
        {
            // The arena is full.
            return null;
        }
    }

    /// <summary>
    /// Maps the context descriptor of a user's stage 1 for the unit to read: in the second half of the window of interrupts, above doorbells.
    /// </summary>
    internal bool TryMapDescriptor(ulong physical, out ulong at)
    {
        const int Most = 64;
        const ulong Page = 4096;
        at = 0;
        lock (_descriptors)
        {
            int slot = 0;
            while (_descriptors.Contains(slot))
            {
                slot++;
            }

            at = SmmuOps.MsiRegion.Start + (SmmuOps.MsiRegion.Length / 2) + ((ulong)slot * Page);
            return slot < Most && Map(at, physical, Page, IommuProt.Read | IommuProt.Cache) == 0 && _descriptors.Add(slot);
        }
    }

    /// <summary>Undoes it.</summary>
    internal void UnmapDescriptor(ulong at)
    {
        lock (_descriptors)
        {
            _ = Unmap(at, 4096);
            _descriptors.Remove((int)((at - SmmuOps.MsiRegion.Start - (SmmuOps.MsiRegion.Length / 2)) / 4096));
        }
    }

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((SmmuOps)Owner).DriverOf(device);
        if (driver != _driver)
        {
            return -Errno.EINVAL;
        }

        var rc = driver.SetStream(device.RequesterId, StreamEntry);
        if (rc != 0)
        {
            return rc;
        }

        (old as ISmmuAttached)?.Detach(device);
        return 0;
    }

    public void Detach(IommuDevice device) => _driver.InvalidateVmid(_vmid);

    public override void Free()
    {
        base.Free();
        _driver.InvalidateVmid(_vmid);
        _driver.FreeVmid(_vmid);
    }

    // The machine keeps all DMA coherent (CANWBS).
    public override bool EnforceCacheCoherency() => true;

    protected override PageAttributes AttributesOf(IommuProt prot) =>
        PageAttributes.Execute
        | ((prot & IommuProt.Read) != 0 ? PageAttributes.Read : 0)
        | ((prot & IommuProt.Write) != 0 ? PageAttributes.Write : 0)
        | ((prot & IommuProt.Mmio) != 0 ? PageAttributes.Device : (prot & IommuProt.Cache) != 0 ? PageAttributes.Coherent : 0);

    protected override void Invalidate(ulong first, ulong last) => _driver.InvalidatePages(0x2a | ((ulong)_vmid << 32), first, last);

    private ulong Word2
    {
        get
        {
            var geometry = Table.Geometry;
            var outputCode = (ulong)(_driver.OutputBits switch { 32 => 0, 36 => 1, 40 => 2, 42 => 3, 44 => 4, _ => 5 });
            return (uint)_vmid | ((ulong)(64 - geometry.InputBits) << 32) | ((ulong)(geometry.TopLevel - 1) << 38) // T0SZ, SL0
                | (1UL << 40) | (1UL << 42) | (3UL << 44) | (outputCode << 48)                                      // walks, PS
                | (1UL << 51) | (1UL << 54) | (1UL << 58);                                                          // AA64, PTW, R
        }
    }
}
