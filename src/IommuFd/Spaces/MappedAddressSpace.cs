using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>A part of an address space that leads to memory.</summary>
/// <param name="Iova">The first IOVA.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Address">The process address of the first byte; 0 where the memory is a file's.</param>
/// <param name="Access">What devices may do.</param>
internal readonly record struct SpacePiece(ulong Iova, ulong Length, nint Address, DmaAccess Access)
{
    internal ulong Last => Iova + (Length - 1);

    /// <summary>The part of it inside a range that it meets.</summary>
    internal SpacePiece Within(ulong first, ulong last)
    {
        ulong start = Math.Max(first, Iova), end = Math.Min(last, Last);
        return new SpacePiece(start, end - start + 1, Address == 0 ? 0 : Address + (nint)(start - Iova), Access);
    }
}

/// <summary>An address space whose page table is the kernel's, changed with map and unmap: a root, or a child made by software nesting.</summary>
public abstract class MappedAddressSpace : AddressSpace
{
    private readonly Lock _gate = new();
    private readonly List<HwptPaging> _pasidTables = [];
    private readonly Dictionary<BoundDevice, NestBase> _nestBases = [];
    private ChildAddressSpace[] _children = [];
    private IovaRange[] _permitted = [];
    private ulong _alignment;
    private bool _rangesChanged = true;

    private protected MappedAddressSpace(IommuContext context, Resource outer, MappedAddressSpace? parent, IMappingBackend backend)
        : base(context, outer, parent)
    {
        Backend = backend;
        NestingGate = parent?.NestingGate ?? new Lock();
    }

    /// <summary>The kernel's id of the address space; 0 over containers, which have none.</summary>
    public uint Id => Backend.Id;

    /// <summary>
    /// Where memory may be mapped now, ascending. The kernel is asked again after an attach or detach: each device has its own reserved ranges and
    /// width. Of a space that was disposed the last answer.
    /// </summary>
    /// <exception cref="IommuFdException">The kernel did not say.</exception>
    public IReadOnlyList<IovaRange> PermittedRanges => AskRanges().Permitted;

    /// <summary>Bytes that IOVAs and lengths must be aligned to.</summary>
    /// <exception cref="IommuFdException">The kernel did not say.</exception>
    public ulong Alignment => AskRanges().Alignment;

    internal IMappingBackend Backend { get; }

    /// <summary>
    /// Held while a child is changed, by its own map and unmap or because a parent changed: one for a root and everything below it.
    /// </summary>
    internal Lock NestingGate { get; }

    private protected bool HasChildren => Volatile.Read(ref _children).Length != 0;

    /// <summary>
    /// Makes a child by software nesting: its mappings lead to addresses of this space. Devices walk one table in which both levels are merged; it
    /// follows when either level changes, before the change returns. Memory stays pinned and counted once, in the root (over containers once for each
    /// group).
    /// </summary>
    /// <exception cref="IommuFdException">No memory.</exception>
    public ChildAddressSpace CreateChild()
    {
        Enter(); // given back by the child
        ChildAddressSpace? child = null;
        try
        {
            IMappingBackend backend = Context.CreateBackend(Backend);
            child = new ChildAddressSpace(this, backend);
            if (!backend.MergesChildren)
            {
                lock (_gate)
                {
                    _children = [.. _children, child];
                }
            }

            return child;
        }
        finally
        {
            if (child is null)
            {
                Exit();
            }
        }
    }

    /// <summary>The first piece that meets a range, cut to it; false when nothing in the range leads to memory.</summary>
    internal abstract bool NextPiece(ulong first, ulong last, out SpacePiece piece);

    /// <summary>
    /// A part of this space leads to memory from now on: children that map it follow. 0 or -errno, and then the caller takes the part back.
    /// </summary>
    private protected int MappedForChildren(ulong iova, ulong length)
    {
        foreach (ChildAddressSpace child in Volatile.Read(ref _children))
        {
            int result = child.ParentMapped(iova, iova + (length - 1));
            if (result < 0)
            {
                return result;
            }
        }

        return 0;
    }

    /// <summary>A part of this space leads nowhere from now on: children lose it first. 0 or -errno when a child keeps it.</summary>
    private protected int UnmappedForChildren(ulong iova, ulong length)
    {
        int worst = 0;
        foreach (ChildAddressSpace child in Volatile.Read(ref _children))
        {
            worst = Math.Min(worst, child.ParentUnmapped(iova, iova + (length - 1)));
        }

        return worst;
    }

    internal void Forget(ChildAddressSpace child)
    {
        lock (_gate)
        {
            _children = [.. _children.Where(other => other != child)];
        }
    }

    /// <inheritdoc/>
    internal override void RangesChanged() => Volatile.Write(ref _rangesChanged, true);

    private (IovaRange[] Permitted, ulong Alignment) AskRanges()
    {
        lock (_gate)
        {
            if (!IsDisposed && Interlocked.Exchange(ref _rangesChanged, false))
            {
                try
                {
                    _permitted = Backend.GetRanges(out _alignment);
                }
                catch
                {
                    RangesChanged();
                    throw;
                }
            }

            return (_permitted, _alignment);
        }
    }

    /// <inheritdoc/>
    internal override uint Install(BoundDevice device, uint? pasid)
    {
        if (Backend is not IoasBackend { Ioas: { } ioas })
        {
            return device.InstallBackend(Backend, pasid);
        }

        if (pasid is null && device.PasidWidth == 0)
        {
            return device.Calls.Attach(ioas.Id);
        }

        // DMA with and without PASID of one device goes through tables that were made for PASIDs, one for all devices that can share it.
        lock (_gate)
        {
            foreach (HwptPaging table in _pasidTables)
            {
                int result = device.Calls.AttachCall(table.Id, pasid, out uint effective);
                if (result >= 0)
                {
                    return effective;
                }

                if (result != -Errno.EINVAL)
                {
                    throw VfioDeviceCalls.AttachFailure(result, table.Id);
                }
            }

            HwptPaging made;
            try
            {
                made = Context.AllocateHwptPaging(device.DeviceId, ioas, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID);
            }
            catch (IommuFdException refused) when (pasid is null && refused.Errno is Errno.EOPNOTSUPP)
            {
                return device.Calls.Attach(ioas.Id);
            }

            try
            {
                uint effective = device.Calls.Attach(made.Id, pasid);
                _pasidTables.Add(made);
                return effective;
            }
            catch
            {
                made.Dispose();
                throw;
            }
        }
    }

    /// <summary>
    /// Makes a child by hardware nesting: a table of the program, which the IOMMU walks on top of this space's table. Whether a device's IOMMU takes
    /// the format is found out when the device is attached.
    /// </summary>
    /// <param name="table">The table; its root's address is one of this space.</param>
    /// <param name="faults">Whether devices may ask for missing pages (PRI); see <see cref="UserTableSpace.Faults"/>.</param>
    /// <exception cref="IommuFdException">EOPNOTSUPP legacy VFIO has no such tables.</exception>
    public UserTableSpace CreateUserTable(UserTable table, bool faults = false)
    {
        ArgumentNullException.ThrowIfNull(table);
        if (Context.Kind == ContextKind.Container)
        {
            throw Failure.Because(
                nameof(Rfc.IOMMU_IOASID_ALLOC), Errno.EOPNOTSUPP, FailureCause.NotSupported,
                "a container's page table is the kernel's: legacy VFIO has no hardware nesting",
                "Use a kernel with /dev/iommu, or a child by software nesting (CreateChild).", new Evidence("context", $"{Context.Kind}"),
                new Evidence("format", $"{table.Format}"));
        }

        Enter(); // given back by the child
        PageRequestStream? queue = null;
        int? ioasid = null;
        try
        {
            if (Context.Kind == ContextKind.Rfc)
            {
                ioasid = Context.AllocateIoasid(((RfcBackend)Backend).Ioasid, table, faults);
                queue = faults ? Context.OpenFaultRegion(ioasid.Value) : null;
            }
            else
            {
                queue = faults ? Context.AllocateFaultQueue() : null;
            }

            return new UserTableSpace(this, table, ioasid, queue);
        }
        catch
        {
            if (ioasid is { } made)
            {
                _ = Context.FreeIoasid(made);
            }

            Exit();
            throw;
        }
    }

    /// <summary>What tables of the program are nested on, for a device's IOMMU; made when it is first needed.</summary>
    internal NestBase NestBaseFor(BoundDevice device, bool withVirtualIommu)
    {
        Ioas ioas = ((IoasBackend)Backend).Ioas;
        lock (_gate)
        {
            if (!_nestBases.TryGetValue(device, out NestBase? below))
            {
                _nestBases[device] = below =
                    new NestBase(Context.AllocateHwptPaging(device.DeviceId, ioas, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT));
            }

            if (withVirtualIommu)
            {
                below.AddVirtualIommu(device, iommu_viommu_type.IOMMU_VIOMMU_TYPE_ARM_SMMUV3);
            }

            return below;
        }
    }

    /// <summary>Gives the tables and the space back; false when mappings may be left in the kernel.</summary>
    private protected bool DestroyBackend()
    {
        _pasidTables.ForEach(static table => table.Dispose());
        foreach (NestBase below in _nestBases.Values)
        {
            below.Dispose();
        }

        return Backend.Destroy();
    }
}
