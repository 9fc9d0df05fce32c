using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A user's stage-1 table (4 KiB granule) on top of a stage 2, for DMA without a substream. The context descriptor in front of it is the
/// kernel's: because it is read through the stage 2 (Arm IHI 0070, 5.2, S1ContextPtr), it is mapped there, read-only, in the window that
/// is kept from the user for interrupts.
/// </summary>
internal sealed class SmmuUserPageDomain : IommuDomain, ISmmuAttached, IUserTableDomain
{
    // Non-cacheable, write-back, device: as for the kernel's own tables.
    private const ulong Mair = 0x44 | (0xffUL << 8) | (0x04UL << 16);

    private readonly SmmuStage2Domain _stage2;
    private readonly int _asid;
    private readonly ulong _descriptor;
    private readonly ulong _at;

    private SmmuUserPageDomain(SmmuOps owner, SmmuStage2Domain stage2, ulong descriptor, ulong at)
        : base(IommuDomainType.Nested, owner)
    {
        _stage2 = stage2;
        _asid = stage2.Driver.AllocAsid();
        _descriptor = descriptor;
        _at = at;
    }

    /// <summary>Makes it; -ENOMEM without memory for the descriptor and its mapping, or when the window is full.</summary>
    internal static int Make(SmmuOps owner, SmmuStage2Domain stage2, in UserTable table, out IommuDomain? domain)
    {
        domain = null;
        PhysicalMemory memory = stage2.Driver.Unit.Memory;
        ulong descriptor = memory.Allocate();
        if (descriptor == 0)
        {
            return -Errno.ENOMEM;
        }

        if (!stage2.TryMapDescriptor(descriptor, out ulong at))
        {
            memory.Free(descriptor);
            return -Errno.ENOMEM;
        }

        var made = new SmmuUserPageDomain(owner, stage2, descriptor, at);
        ulong word0 = (64 - table.AddressWidth) | (1 << 8) | (1 << 10) | (3 << 12) // T0SZ, walks write-back and inner shareable
            | (1UL << 30) | (1UL << 31) | (5UL << 32) | (1UL << 41)               // EPD1, V, IPS, AA64
            | (1UL << 45) | (1UL << 46) | (1UL << 47) | ((ulong)made._asid << 48); // R, A, ASET
        memory.Write64(descriptor + 8, table.Address);
        memory.Write64(descriptor + 24, Mair);
        memory.Write64(descriptor, word0);
        domain = made;
        return 0;
    }

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((SmmuOps)Owner).DriverOf(device);
        if (driver != _stage2.Driver)
        {
            return -Errno.EINVAL;
        }

        // One descriptor, at an intermediate address; both stages.
        const ulong Valid = 1, Both = 7 << 1, Cacheable = (1 << 2) | (1 << 4) | (3 << 6), NoStalls = 1 << 27;
        ReadOnlySpan<ulong> lower = _stage2.StreamEntry;
        var rc = driver.SetStream(device.RequesterId, [Valid | Both | _at, lower[1] | Cacheable | NoStalls, lower[2], lower[3]]);
        if (rc != 0)
        {
            return rc;
        }

        (old as ISmmuAttached)?.Detach(device);
        return 0;
    }

    public void Detach(IommuDevice device) => _stage2.Driver.InvalidateVmid(_stage2.Vmid);

    public void Invalidate(in UserTableChange change)
    {
        const ulong AllOfAsid = 0x11, Pages = 0x12;
        if (!change.Has(Rfc.IOMMU_CACHE_INV_TYPE_IOTLB))
        {
            return;
        }

        var space = ((ulong)_stage2.Vmid << 32) | ((ulong)_asid << 48);
        if (change.Last == ulong.MaxValue)
        {
            _stage2.Driver.Issue([(AllOfAsid | space, 0)]);
        }
        else
        {
            _stage2.Driver.InvalidatePages(Pages | space, change.First, change.Last);
        }
    }

    public override void Free()
    {
        _stage2.UnmapDescriptor(_at);
        _stage2.Driver.Unit.Memory.Free(_descriptor);
        _stage2.Driver.InvalidateVmid(_stage2.Vmid);
        _stage2.Driver.FreeAsid(_asid);
    }
}
