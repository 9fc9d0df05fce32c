using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A user's first-stage table, or process directory, on top of a second stage. With a directory, DMA without a PASID stays in the second stage (DPE =
/// 0).
/// </summary>
internal sealed class RiscvUserTableDomain : IommuDomain, IRiscvAttached, IUserTableDomain
{
    private const ulong Valid = 1, Pdtv = 1 << 5;
    private readonly RiscvSecondStageDomain _parent;
    private readonly RiscvDeviceContext _context;
    private readonly int _pscid;
    private readonly List<IommuDevice> _devices = [];

    internal RiscvUserTableDomain(RiscvOps owner, RiscvSecondStageDomain parent, in UserTable table)
        : base(IommuDomainType.Nested, owner)
    {
        _parent = parent;
        _pscid = parent.Driver.AllocPscid();
        var isDirectory = table.Format == iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_PDT;
        _context = new RiscvDeviceContext(Valid | (isDirectory ? Pdtv : 0), parent.Pointer, isDirectory ? 0 : (ulong)_pscid << 12,
            (ulong)ModeOf(table) << 60 | table.Address >> 12);
    }

    /// <summary>The mode of the widest input: of a table Sv39, Sv48 or Sv57, of a directory PD8, PD17 or PD20; 0 for any other width.</summary>
    internal static int ModeOf(in UserTable table) => (table.Format, table.AddressWidth) switch
    {
        (iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_S1, 39) => 8,
        (iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_S1, 48) => 9,
        (iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_S1, 57) => 10,
        (iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_PDT, 64 + 8) => 1,
        (iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_PDT, 64 + 17) => 2,
        (iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_PDT, 64 + 20) => 3,
        _ => 0,
    };

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        if (((RiscvOps)Owner).DriverOf(device) != _parent.Driver)
        {
            return -Errno.EINVAL;
        }

        if (!_parent.Driver.SetContext(device.RequesterId, _context))
        {
            return -Errno.ENOMEM;
        }

        (old as IRiscvAttached)?.Detached();
        _devices.Add(device);
        return 0;
    }

    public void Detached() => _parent.Driver.InvalidateGuest(_parent.Gscid, firstStages: true);

    public void Invalidate(in UserTableChange change)
    {
        foreach (var device in _devices)
        {
            if (!change.Has(Rfc.IOMMU_CACHE_INV_TYPE_PASID) || (change.Device != null && change.Device != device))
            {
                continue;
            }

            if (change.Pasid is { } pasid)
            {
                _parent.Driver.InvalidateProcess(device.RequesterId, pasid);
            }
            else
            {
                _parent.Driver.InvalidateDevice(device.RequesterId);
            }
        }

        // The guest's PSCIDs are not told.
        if (change.Has(Rfc.IOMMU_CACHE_INV_TYPE_IOTLB))
        {
            Detached();
        }
    }

    public override void Free() => _parent.Driver.FreePscid(_pscid);
}
