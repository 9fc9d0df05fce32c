using IommuFd.HwSim.PageTables;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A stage-1 table with its ASID: what the driver takes when it can.</summary>
internal sealed class SmmuStage1Domain : TableDomain<ArmStage1>, ISmmuAttached
{
    // Non-cacheable, write-back, device: the attribute indexes that the page-table format uses.
    private const ulong Mair = 0x44 | (0xffUL << 8) | (0x04UL << 16);

    private readonly SmmuDriver _driver;
    private readonly int _asid;

    private SmmuStage1Domain(SmmuOps owner, IommuDomainType type, SmmuDriver driver, PageTable<ArmStage1> table, bool tracksDirty)
        : base(owner, type, table, tracksDirty)
    {
        _driver = driver;
        _asid = driver.AllocAsid();
        ApertureEnd = table.Geometry.InputMask;
    }

    public override bool CanAttachPasid => true;

    internal static SmmuStage1Domain? TryCreate(SmmuOps owner, IommuDomainType type, SmmuDriver driver, bool tracksDirty)
    {
        try
        {
            var geometry = ArmStage1.Geometry(12, 48, driver.OutputBits, tracksDirty ? PageTableFeatures.DirtyTracking : 0);
            return new SmmuStage1Domain(owner, type, driver, new PageTable<ArmStage1>(driver.Unit.Memory, geometry), tracksDirty);
        }
        catch (InvalidOperationException)
        {
            // The arena is full.
            return null;
        }
    }

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((SmmuOps)Owner).DriverOf(device);
        if (driver != _driver)
        {
            return -Errno.EINVAL;
        }

        var descriptors = SmmuDescriptors.Of(device, driver);
        if (descriptors == null || !SetDescriptor(descriptors, device, 0))
        {
            return -Errno.ENOMEM;
        }

        // S1DSS 2: DMA without substream uses descriptor 0.
        var word0 = 1 | (5UL << 1) | descriptors.Root | (descriptors.Bits > 6 ? 1UL << 4 : 0) | ((ulong)descriptors.Bits << 59);
        var rc = driver.SetStream(device.RequesterId, [word0, 2 | (1 << 2) | (1 << 4) | (3 << 6) | (1 << 27), 0, 0]);
        if (rc != 0)
        {
            return rc;
        }

        (old as ISmmuAttached)?.Detach(device);
        return 0;
    }

    public override int SetDevicePasid(IommuDevice device, uint pasid, IommuDomain? old)
    {
        if (device.DriverData is not SmmuDescriptors { Bits: > 0 } descriptors || pasid == 0 || pasid >> descriptors.Bits != 0)
        {
            return -Errno.EINVAL;
        }

        return SetDescriptor(descriptors, device, pasid) ? 0 : -Errno.ENOMEM;
    }

    internal void ClearPasid(IommuDevice device, uint pasid)
    {
        if (device.DriverData is SmmuDescriptors descriptors)
        {
            descriptors.Set(pasid, 0, 0, 0);
            _driver.InvalidateDescriptor(device.RequesterId, pasid);
            _driver.InvalidateAsid(_asid);
        }
    }

    public void Detach(IommuDevice device) => _driver.InvalidateAsid(_asid);

    public override int SetDirtyTracking(bool enable) => 0; // always enabled in the descriptors

    public override void Free()
    {
        base.Free();
        _driver.InvalidateAsid(_asid);
        _driver.FreeAsid(_asid);
    }

    // The machine keeps all DMA coherent (CANWBS).
    public override bool EnforceCacheCoherency() => true;

    protected override PageAttributes AttributesOf(IommuProt prot) =>
        PageAttributes.User | PageAttributes.Execute
        | ((prot & IommuProt.Read) != 0 ? PageAttributes.Read : 0)
        | ((prot & IommuProt.Write) != 0 ? PageAttributes.Write | PageAttributes.Dirty : 0)
        | ((prot & IommuProt.Mmio) != 0 ? PageAttributes.Device : (prot & IommuProt.Cache) != 0 ? PageAttributes.Coherent : 0);

    protected override void Invalidate(ulong first, ulong last) => _driver.InvalidatePages(0x12 | ((ulong)_asid << 48), first, last);

    private bool SetDescriptor(SmmuDescriptors descriptors, IommuDevice device, uint substream)
    {
        var outputCode = (ulong)(_driver.OutputBits switch { 32 => 0, 36 => 1, 40 => 2, 42 => 3, 44 => 4, _ => 5 });
        var word0 = 16UL | (1 << 8) | (1 << 10) | (3 << 12) // T0SZ, walks write-back and inner shareable
            | (1UL << 30) | (1UL << 31)                     // EPD1, V
            | (outputCode << 32) | (1UL << 41)              // IPS, AA64
            | (HasDirtyTracking ? 3UL << 42 : 0)            // HD, HA
            | (1UL << 45) | (1UL << 46) | (1UL << 47)       // R, A, ASET
            | ((ulong)_asid << 48);
        if (!descriptors.Set(substream, word0, Table.Root, Mair))
        {
            return false;
        }

        _driver.InvalidateDescriptor(device.RequesterId, substream);
        return true;
    }
}
