using System.Runtime.InteropServices;
using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The VT-d driver (drivers/iommu/intel): it makes first- and second-stage tables, writes root, context and PASID entries, and invalidates through
/// the unit's registers or its queue, all as bytes that the unit reads.
/// </summary>
/// <remarks>
/// Does not model: queued invalidation in legacy mode (the registers serve) and with it device TLBs there, taking over the tables of a previous
/// kernel, 1:1 ranges of firmware in the default domain.
/// </remarks>
public sealed partial class VtdOps : IommuOps
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
    /// <param name="unit">The unit.</param>
    /// <param name="scalable">False to use legacy mode even where the unit has scalable mode (intel_iommu=sm_off).</param>
    public void Probe(VtdUnit unit, bool scalable = true)
    {
        lock (_units)
        {
            _units.Add(new VtdDriver(unit, scalable, Print) { Faulted = fault => Faulted?.Invoke(fault) });
        }
    }

    /// <inheritdoc/>
    public override bool Capable(IommuDevice device, IommuCapability capability) => capability switch
    {
        IommuCapability.CacheCoherency => true,
        IommuCapability.EnforceCacheCoherency => DriverOf(device).HasSnoopControl,
        IommuCapability.DirtyTracking => DriverOf(device).HasDirtyTracking,
        IommuCapability.PciAtsSupported => device.HasDeviceTlb,
        _ => false,
    };

    /// <inheritdoc/>
    public override IommuFeatures Features(object unit)
    {
        lock (_units)
        {
            return _units.Find(u => u.Unit == unit) is { } driver ? new(driver.MaxPasids, driver.HasDeviceTlb, driver.HasPageRequests) : default;
        }
    }

    /// <inheritdoc/>
    public override int DomainAllocPaging(IommuDevice device, uint flags, IommuUserData? data, out IommuDomain? domain)
    {
        domain = null;
        if (data != null)
        {
            return -Errno.EOPNOTSUPP;
        }

        var rc = VtdPagingDomain.TryCreate(this, IommuDomainType.Unmanaged, DriverOf(device), flags, out var made);
        domain = made;
        return rc;
    }

    /// <inheritdoc/>
    public override IommuDomain DomainAllocDefault(IommuDevice device)
    {
        _ = VtdPagingDomain.TryCreate(this, IommuDomainType.Dma, DriverOf(device), 0, out var domain);
        return (IommuDomain?)domain ?? _blocked;
    }

    /// <inheritdoc/>
    public override int DomainAllocNested(IommuDevice device, IommuDomain parent, uint flags, in IommuUserData data, out IommuDomain? domain)
    {
        domain = null;
        const uint Type = (uint)iommu_hwpt_data_type.IOMMU_HWPT_DATA_VTD_S1;
        if (!DriverOf(device).HasNesting || (flags & ~(uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID) != 0 || data.Type != Type)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (parent is not VtdPagingDomain { IsNestParent: true } second)
        {
            return -Errno.EINVAL;
        }

        var rc = data.Copy(Type, 24, out iommu_hwpt_vtd_s1 config);
        domain = rc == 0 ? new VtdNestedDomain(this, second, config) : null;
        return rc;
    }

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
