using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>Who decides that no-snoop DMA is made coherent.</summary>
internal enum RfcSnoop
{
    /// <summary>Nobody: the device's no-snoop bit is honoured.</summary>
    Disabled,

    /// <summary>It is enforced; a device whose IOMMU cannot is refused.</summary>
    Enforced,

    /// <summary>It is enforced where the IOMMU can, as VFIO always did.</summary>
    Auto,
}

/// <summary>A space whose table the kernel builds: a root from memory of the process, a child from its parent (see <see cref="RfcShadowIoasid"/>).</summary>
internal abstract class RfcKernelIoasid : RfcIoasid
{
    protected const ulong PageSize = IoptPages.PageSize;

    private readonly RfcSnoop _snoop;
    private IommuDomain? _domain;
    private int _users;

    protected RfcKernelIoasid(RfcContext context, RfcIoasid? parent, uint addressWidth, RfcSnoop snoop)
        : base(context, parent, addressWidth)
    {
        _snoop = snoop;
        Pagetable = new IoPagetable(context.Pools);
        if (addressWidth < 64)
        {
            _ = Pagetable.ReserveIova(1UL << (int)addressWidth, ulong.MaxValue, this);
        }
    }

    /// <summary>The map: areas of pages, and the tables that hold copies of it.</summary>
    internal IoPagetable Pagetable { get; }

    /// <inheritdoc/>
    internal override IommuDomain? Domain => _domain;

    /// <summary>IOMMU_MAP_DMA. Addresses and size are multiples of the page size and do not wrap.</summary>
    internal abstract int Map(ulong iova, ulong address, ulong size, IommuProt prot, IUserMemory user);

    /// <summary>IOMMU_UNMAP_DMA of whole mappings: -EINVAL where it would cut one.</summary>
    internal abstract int Unmap(ulong first, ulong last, out ulong unmapped);

    /// <inheritdoc/>
    internal override int Activate(RfcAttachment attachment)
    {
        RfcDevice device = attachment.Device;
        int error = Reserve(attachment);
        if (error == 0 && attachment.Slot.Group is not null)
        {
            error = MakeDomain(device);
        }

        if (error < 0)
        {
            Pagetable.RemoveReserved(attachment);
        }

        return error;
    }

    /// <inheritdoc/>
    internal override void Deactivate(RfcAttachment attachment)
    {
        Pagetable.RemoveReserved(attachment);
        if (attachment.Slot.Group is not null && --_users == 0)
        {
            Pagetable.RemoveDomain(_domain!);
            _domain!.Free();
            _domain = null;
        }
    }

    /// <summary>What was mapped at a range is there for the children, or is about to go: every shadow follows. 0, or the error of a shadow that cannot.</summary>
    protected int Propagate(ulong first, ulong last, bool mapped)
    {
        foreach (RfcShadowIoasid child in Children.OfType<RfcShadowIoasid>())
        {
            int error = child.ParentChanged(first, last, mapped);
            if (error < 0)
            {
                return error;
            }
        }

        return 0;
    }

    /// <summary>Ranges that the device's requests without a PASID cannot use are kept free of mappings.</summary>
    internal int Reserve(RfcAttachment attachment)
    {
        if (attachment.Slot.Pasid != IommuGroup.NoPasid)
        {
            return 0;
        }

        foreach (ReservedRegion region in attachment.Device.ReservedRegions)
        {
            if (Pagetable.ReserveIova(region.Start, region.Start + region.Length - 1, attachment) < 0)
            {
                Pagetable.RemoveReserved(attachment);
                return -Errno.EINVAL;
            }
        }

        return 0;
    }

    private int MakeDomain(RfcDevice device)
    {
        if (_snoop == RfcSnoop.Enforced && !device.CanEnforceSnoop)
        {
            return -Errno.EINVAL;
        }

        int error = device.Describe(out RfcTableInfo table);
        if (error < 0)
        {
            return error;
        }

        if (AddressWidth > table.AddressWidth || (_domain is not null && _domain.Owner != device.Iommu.Ops))
        {
            return -Errno.EINVAL;
        }

        if (_domain is null)
        {
            error = device.NewDomain(nestParent: false, out IommuDomain? domain);
            if (error < 0)
            {
                return error;
            }

            // Before anything is mapped: some units keep it in every entry.
            if (_snoop != RfcSnoop.Disabled && device.CanEnforceSnoop)
            {
                _ = domain!.EnforceCacheCoherency();
            }

            error = Pagetable.AddDomain(domain!);
            if (error < 0)
            {
                domain!.Free();
                return error;
            }

            _domain = domain;
        }

        _users++;
        return 0;
    }
}
