using System.Numerics;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>What tables for a device hold.</summary>
/// <param name="PageSizes">Bit n: pages of 2^n bytes.</param>
/// <param name="First">First address.</param>
/// <param name="Last">Last address, inclusive.</param>
internal readonly record struct RfcTableInfo(ulong PageSizes, ulong First, ulong Last)
{
    /// <summary>Bits of an address.</summary>
    public uint AddressWidth => (uint)(64 - BitOperations.LeadingZeroCount(Last));
}

/// <summary>A device under one /dev/iommu (struct iommu_dev): always the physical one, named by the user's cookie.</summary>
/// <param name="context">The open file.</param>
/// <param name="vfio">The device as VFIO knows it.</param>
/// <param name="cookie">The user's name for it.</param>
internal sealed partial class RfcDevice(RfcContext context, VfioDevice vfio, ulong cookie)
{
    private RfcTableInfo? _table;

    /// <summary>The open file.</summary>
    internal RfcContext Context { get; } = context;

    /// <summary>The device as VFIO knows it.</summary>
    internal VfioDevice Vfio { get; } = vfio;

    /// <summary>The user's name for it.</summary>
    internal ulong Cookie { get; } = cookie;

    /// <summary>The physical device.</summary>
    internal IommuDevice Iommu => (Vfio as IRfcMediated)?.Parent ?? Vfio.Iommu;

    /// <summary>True for a device whose driver mediates all DMA: no table is installed for it.</summary>
    internal bool IsSoftware => Pasids.Type == RfcPasidType.Software;

    /// <summary>How it has PASIDs.</summary>
    internal RfcPasidPolicy Pasids { get; } = RfcPasidPolicy.Of(vfio);

    /// <summary>The PASID that routes its default space: none for a physical device, the parent's for a mediated one.</summary>
    internal uint DefaultPasid => (Vfio as IRfcMediated)?.DefaultPasid ?? IommuGroup.NoPasid;

    /// <summary>
    /// True for a physical device: its whole group is the user's. A mediated one has its own PASIDs only, the rest stays with the parent's driver.
    /// </summary>
    internal bool OwnsGroup => !IsSoftware && Vfio is not IRfcMediated;

    /// <summary>The user-managed tables that its IOMMU takes.</summary>
    internal IReadOnlyList<UserTableFormat> UserTables => IsSoftware || Iommu.Ops is not IUserTables tables ? [] : tables.UserTables(Iommu);

    /// <summary>True when the device can send requests that are not snooped.</summary>
    internal bool CanNoSnoop => Vfio is VfioPciDevice { Function.Topology.Properties: { } properties }
        && properties.GetValueOrDefault("no_snoop") == "1";

    /// <summary>True when its IOMMU tells which pages it wrote.</summary>
    internal bool TracksDirty => !IsSoftware && Iommu.Capable(IommuCapability.DirtyTracking);

    /// <summary>True when its IOMMU can make no-snoop DMA coherent; what a driver mediates is coherent.</summary>
    internal bool CanEnforceSnoop => IsSoftware || Iommu.Capable(IommuCapability.EnforceCacheCoherency);

    /// <summary>Ranges that its requests without a PASID cannot use.</summary>
    internal IEnumerable<ReservedRegion> ReservedRegions =>
        !OwnsGroup ? [] : Iommu.ReservedRegions.Where(static r => r.Type != ReservedRegionType.DirectRelaxable);

    /// <summary>
    /// Binds: the group's DMA is refused from here on, until something is attached. -ENODEV without a group; -EINVAL when the host's driver uses a
    /// member (not viable) or a range must stay mapped 1:1; -EBUSY when another user has the group, or device or cookie are bound here; -EPERM when
    /// interrupts are not isolated.
    /// </summary>
    internal int Bind(object owner)
    {
        int error = Context.Register(this);
        if (error < 0)
        {
            return error;
        }

        error = OwnsGroup ? Claim(owner) : 0;
        if (error < 0)
        {
            Context.Unregister(this);
            return error;
        }

        (Vfio as IRfcMediated)?.Bound.Add(this);
        return 0;
    }

    /// <summary>Unbinds, after everything was detached. DMA goes back to the host with the last member of the group.</summary>
    internal void Unbind()
    {
        DetachAll();
        (Vfio as IRfcMediated)?.Bound.Remove(this);
        if (OwnsGroup)
        {
            Iommu.Group!.ReleaseDmaOwner();
        }

        Context.Unregister(this);
    }

    /// <summary>What kernel-managed tables for the device hold.</summary>
    internal int Describe(out RfcTableInfo table)
    {
        if (_table is null)
        {
            if (IsSoftware)
            {
                _table = new RfcTableInfo(~(IoptPages.PageSize - 1), 0, ulong.MaxValue);
            }
            else
            {
                int error = NewDomain(nestParent: false, out IommuDomain? domain);
                if (error < 0)
                {
                    table = default;
                    return error;
                }

                _table = new RfcTableInfo(domain!.PageSizeBitmap, domain.ApertureStart, domain.ApertureEnd);
                domain.Free();
            }
        }

        table = _table.Value;
        return 0;
    }

    /// <summary>
    /// Makes an empty table for the device with everything that its unit can do: PASIDs and dirty tracking, or the lower level of nesting.
    /// </summary>
    internal int NewDomain(bool nestParent, out IommuDomain? domain)
    {
        const uint Dirty = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
            Pasid = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID;
        IommuOps ops = Iommu.Ops!;
        if (nestParent)
        {
            return ((IUserTables)ops).AllocParent(Iommu, out domain);
        }

        uint wanted = Iommu.MaxPasids > 0 && !Pasids.IsDelegated ? Pasid : 0;
        if (TracksDirty && ops.DomainAllocPaging(Iommu, wanted | Dirty, null, out domain) == 0)
        {
            return 0;
        }

        int error = ops.DomainAllocPaging(Iommu, wanted, null, out domain);
        return error < 0 && wanted != 0 ? ops.DomainAllocPaging(Iommu, 0, null, out domain) : error;
    }

    private int Claim(object owner)
    {
        if (Iommu.Group is not { } group || Iommu.Ops is null)
        {
            return -Errno.ENODEV;
        }

        if (!group.HasIsolatedMsi && !Context.Module.AllowUnsafeInterrupts)
        {
            return -Errno.EPERM;
        }

        if (!group.IsViable)
        {
            return -Errno.EINVAL;
        }

        int error = group.ClaimDmaOwner(owner);
        return error == -Errno.EPERM ? -Errno.EBUSY : error;
    }
}
