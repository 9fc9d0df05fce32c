using System.Runtime.InteropServices;
using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The VT-d driver (drivers/iommu/intel) in legacy mode: it makes second-stage tables, writes root and context entries, and invalidates through the unit's
/// registers, all as bytes that the unit reads.
/// </summary>
/// <remarks>
/// Does not model: scalable mode, queued invalidation (the register interface serves), taking over the tables of a previous kernel, reserved 1:1 ranges of
/// firmware in the default domain.
/// </remarks>
public sealed class VtdOps : IommuOps
{
    private readonly VtdBlockedDomain _blocked;
    private readonly List<VtdDriver> _units = [];

    /// <summary>A driver without units.</summary>
    public VtdOps() => _blocked = new VtdBlockedDomain(this);

    /// <summary>The range that every device behind VT-d reports: where it sends its interrupts.</summary>
    public static ReservedRegion MsiRegion => new(0xfee00000, 0x100000, ReservedRegionType.Msi);

    /// <inheritdoc/>
    public override IommuDomain BlockedDomain => _blocked;

    /// <inheritdoc/>
    public override bool HasNested => true;

    /// <inheritdoc/>
    public override bool HasHardwareInfo => true;

    /// <summary>Brings a unit up: an empty root table, all caches invalidated, translation on.</summary>
    public void Probe(VtdUnit unit)
    {
        lock (_units)
        {
            _units.Add(new VtdDriver(unit));
        }
    }

    /// <inheritdoc/>
    public override bool Capable(IommuDevice device, IommuCapability capability) => capability switch
    {
        IommuCapability.CacheCoherency => true,
        IommuCapability.EnforceCacheCoherency => DriverOf(device).HasSnoopControl,
        _ => false,
    };

    /// <inheritdoc/>
    public override int DomainAllocPaging(IommuDevice device, uint flags, IommuUserData? data, out IommuDomain? domain)
    {
        domain = null;
        const uint Known = (uint)(iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT |
            iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING | iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID);
        const uint NeedScalableMode = Known & ~(uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID;
        if (data != null || (flags & ~Known) != 0 || (flags & NeedScalableMode) != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        domain = VtdPagingDomain.TryCreate(this, IommuDomainType.Unmanaged, DriverOf(device));
        return domain == null ? -Errno.ENOMEM : 0;
    }

    /// <inheritdoc/>
    public override IommuDomain DomainAllocDefault(IommuDevice device) =>
        (IommuDomain?)VtdPagingDomain.TryCreate(this, IommuDomainType.Dma, DriverOf(device)) ?? _blocked;

    /// <inheritdoc/>
    public override int HardwareInfo(IommuDevice device, ref uint type, Span<byte> data)
    {
        const uint Vtd = (uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_INTEL_VTD;
        if (type != (uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_DEFAULT && type != Vtd)
        {
            return -Errno.EOPNOTSUPP;
        }

        // The driver reports the erratum for every unit.
        var unit = DriverOf(device);
        var info = new iommu_hw_info_vtd
        {
            flags = (uint)iommu_hw_info_vtd_flags.IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17,
            cap_reg = unit.Cap,
            ecap_reg = unit.Ecap,
        };
        MemoryMarshal.Write(data, in info);
        type = Vtd;
        return System.Runtime.CompilerServices.Unsafe.SizeOf<iommu_hw_info_vtd>();
    }

    internal VtdDriver DriverOf(IommuDevice device)
    {
        lock (_units)
        {
            return _units.Find(u => u.Unit == device.Unit) ?? throw new InvalidOperationException($"{device.Name}: its VT-d unit was not probed.");
        }
    }
}
