using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>
/// A child made by hardware nesting (RFC v2 flows 4.4 and 4.5): the program owns its table, the IOMMU walks it and for what it puts out the parent's.
/// What changes in the table is told with <see cref="Invalidate(ulong, ulong, uint?)"/>; a page that is missing may be asked for through
/// <see cref="Faults"/>.
/// </summary>
/// <remarks>
/// Whether a device's IOMMU can walk the table is found out when a device is attached, as in the proposal. On mainline each device gets a nested
/// hardware page table of its own on the parent's; on the proposal's kernel the space is one kernel object.
/// </remarks>
public sealed partial class UserTableSpace : AddressSpace
{
    private readonly MappedAddressSpace _parent;
    private readonly Lock _gate = new();
    private readonly Dictionary<BoundDevice, HwptNested> _tables = [];
    private readonly int? _ioasid; // on the proposal's kernel

    internal UserTableSpace(MappedAddressSpace parent, UserTable table, int? ioasid, PageRequestStream? faults)
        : base(parent.Context, parent, parent)
    {
        _parent = parent;
        _ioasid = ioasid;
        Table = table;
        Faults = faults;
    }

    /// <inheritdoc/>
    public override SpaceKind Kind => Table.IsPasidTable ? SpaceKind.UserPasidTable : SpaceKind.UserPageTable;

    /// <summary>The program's table.</summary>
    public UserTable Table { get; }

    /// <summary>
    /// The page requests of devices attached to this space, each with the device's cookie; null when the space was made without. The PASID of a
    /// request is the device's, in a PASID table the program's to look up.
    /// </summary>
    public PageRequestStream? Faults { get; }

    /// <inheritdoc/>
    internal override uint Install(BoundDevice device, uint? pasid)
    {
        if (_ioasid is { } ioasid)
        {
            return device.InstallIoasid(ioasid, pasid);
        }

        CheckFormat(device, pasid);
        lock (_gate)
        {
            if (_tables.TryGetValue(device, out HwptNested? table))
            {
                return device.Calls.Attach(table.Id, pasid);
            }

            table = Nest(device);
            try
            {
                uint effective = device.Calls.Attach(table.Id, pasid);
                _tables[device] = table;
                return effective;
            }
            catch
            {
                table.Dispose();
                throw;
            }
        }
    }

    internal int? Ioasid => _ioasid;

    private HwptNested Nest(BoundDevice device)
    {
        NestBase below = _parent.NestBaseFor(device, withVirtualIommu: Table.Format == UserTableFormat.ArmContextDescriptors);
        iommufd_hwpt_alloc_flags flags = device.PasidWidth > 0 && !Table.IsPasidTable ? iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID : 0;
        (iommu_hwpt_data_type type, byte[] data) = Table.ToData()!.Value;
        return below.VirtualIommu is { } iommu
            ? iommu.AllocateHwptNested(device.DeviceId, type, data, flags, Faults as FaultQueue)
            : Context.AllocateHwptNested(device.DeviceId, below.Parent, type, data, flags, Faults as FaultQueue);
    }

    // The kernel's EINVAL or EOPNOTSUPP would not say which of the two does not fit.
    private void CheckFormat(BoundDevice device, uint? pasid)
    {
        iommu_hw_info_type wanted = Table.Format switch
        {
            UserTableFormat.VtdFirstStage => iommu_hw_info_type.IOMMU_HW_INFO_TYPE_INTEL_VTD,
            UserTableFormat.ArmContextDescriptors => iommu_hw_info_type.IOMMU_HW_INFO_TYPE_ARM_SMMUV3,
            _ => iommu_hw_info_type.IOMMU_HW_INFO_TYPE_NONE,
        };
        if (Table.ToData() is null)
        {
            throw Failure.Because(
                "attach", Errno.EOPNOTSUPP, FailureCause.NotSupported, $"mainline takes no user-managed tables of the format {Table.Format}",
                "BoundDevice.GetCapabilities lists the formats that the device's IOMMU takes; software nesting needs none.",
                new Evidence("device", $"{device.Address}"));
        }

        if (pasid is not null && Table.IsPasidTable)
        {
            throw Failure.Because(
                "attach", Errno.EINVAL, FailureCause.IncompatibleTable, "a PASID table stands under the device itself: it holds all of its PASIDs",
                "Attach it without a PASID.",
                new Evidence("device", $"{device.Address}"), new Evidence("pasid", $"{pasid}"));
        }

        if (wanted == iommu_hw_info_type.IOMMU_HW_INFO_TYPE_NONE)
        {
            return;
        }

        HwInfo info = Context.GetHwInfo(device.DeviceId);
        string? reason = info.Type != wanted
            ? $"the device's IOMMU does not walk tables of the format {Table.Format}"
            : HardwareFacts.WhyNoNesting(info);
        if (reason is not null)
        {
            throw Failure.Because(
                "attach", Errno.EINVAL, FailureCause.IncompatibleTable, reason,
                "BoundDevice.GetCapabilities lists the formats that it takes; software nesting needs none.",
                [new Evidence("device", $"{device.Address}"), new Evidence("out_data_type", $"{info.Type}"), .. HardwareFacts.Evidence(info)]);
        }
    }

    private protected override void Free()
    {
        foreach (HwptNested table in _tables.Values)
        {
            table.Dispose();
        }

        if (_ioasid is { } ioasid)
        {
            _ = Context.FreeIoasid(ioasid);
        }

        Faults?.Dispose();
    }
}
