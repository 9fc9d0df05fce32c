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

/// <summary>
/// A space whose table the kernel builds: a root from memory of the process, a child from its parent (see <see cref="RfcShadowIoasid"/>).
/// </summary>
internal abstract partial class RfcKernelIoasid : RfcIoasid
{
    protected const ulong PageSize = IoptPages.PageSize;

    private readonly RfcSnoop _snoop;
    private IommuDomain? _domain, _nestParent;
    private int _users, _nestUsers;

    protected RfcKernelIoasid(RfcContext context, RfcIoasid? parent, uint addressWidth, RfcSnoop snoop)
        : base(context, parent, addressWidth)
    {
        _snoop = snoop;
        Pagetable = new IoPagetable(context.Pools);
        _isApplied = IsTracking;
        if (addressWidth < 64)
        {
            _ = Pagetable.ReserveIova(1UL << (int)addressWidth, ulong.MaxValue, this);
        }
    }

    /// <summary>The map: areas of pages, and the tables that hold copies of it.</summary>
    internal IoPagetable Pagetable { get; }

    /// <inheritdoc/>
    internal override IommuDomain? Domain => _domain;

    /// <inheritdoc/>
    internal override bool EnforcesSnoopFor(RfcDevice device) => _snoop != RfcSnoop.Disabled && device.CanEnforceSnoop;

    /// <summary>IOMMU_MAP_DMA. Addresses and size are multiples of the page size and do not wrap.</summary>
    internal abstract int Map(ulong iova, ulong address, ulong size, IommuProt prot, IUserMemory user);

    /// <summary>
    /// IOMMU_UNMAP_DMA of whole mappings: -EINVAL where it would cut one. With a bitmap, the pages that were written until then are reported.
    /// </summary>
    internal abstract int Unmap(ulong first, ulong last, DirtyBitmap? dirty, out ulong unmapped);

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
            Drop(ref _domain);
        }
    }

    /// <summary>
    /// What was mapped at a range is there for the children, or is about to go: every shadow follows. 0, or the error of a shadow that cannot.
    /// </summary>
    protected int Propagate(ulong first, ulong last, bool mapped)
    {
        foreach (RfcIoasid child in Children)
        {
            int error = (child as RfcShadowIoasid)?.ParentChanged(first, last, mapped) ?? 0;
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

    /// <summary>
    /// The table below user-managed ones, with one more user: of the same pages, in the form that the unit walks as the lower of two.
    /// </summary>
    internal int GetNestParent(RfcDevice device, out IommuDomain? domain)
    {
        int error = CheckFit(device);
        if (error == 0 && _nestParent is null)
        {
            error = Make(device, nestParent: true, out _nestParent);
        }

        domain = _nestParent;
        if (error == 0)
        {
            _nestUsers++;
        }

        return error;
    }

    /// <summary>Undoes one <see cref="GetNestParent"/>.</summary>
    internal void ReleaseNestParent()
    {
        if (--_nestUsers == 0)
        {
            Drop(ref _nestParent);
        }
    }

    private int MakeDomain(RfcDevice device)
    {
        int error = CheckFit(device);
        if (error == 0 && _domain is null)
        {
            error = Make(device, nestParent: false, out _domain);
        }

        if (error == 0)
        {
            _users++;
        }

        return error;
    }

    private int CheckFit(RfcDevice device)
    {
        if (_snoop == RfcSnoop.Enforced && !device.CanEnforceSnoop)
        {
            return -Errno.EINVAL;
        }

        int error = device.Describe(out RfcTableInfo table);
        bool fits = AddressWidth <= table.AddressWidth && ((_domain ?? _nestParent) is not { } made || made.Owner == device.Iommu.Ops);
        return error < 0 ? error : fits ? 0 : -Errno.EINVAL;
    }

    private int Make(RfcDevice device, bool nestParent, out IommuDomain? domain)
    {
        int error = device.NewDomain(nestParent, out domain);
        if (error < 0)
        {
            return error;
        }

        MsiCookie.Give(domain!, device.Iommu);

        // Before anything is mapped: some units keep it in every entry.
        if (_snoop != RfcSnoop.Disabled && device.CanEnforceSnoop)
        {
            _ = domain!.EnforceCacheCoherency();
        }

        if (!nestParent)
        {
            Faults?.Connect(domain!);
        }

        error = IsTracking ? domain!.SetDirtyTracking(true) : 0;
        error = error == 0 ? Pagetable.AddDomain(domain!) : error;
        if (error < 0)
        {
            domain!.Free();
            domain = null;
        }

        return error;
    }

    private void Drop(ref IommuDomain? domain)
    {
        Pagetable.RemoveDomain(domain!);
        domain!.Free();
        domain = null;
    }
}
