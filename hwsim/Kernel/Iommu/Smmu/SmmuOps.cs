using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The SMMUv3 driver (drivers/iommu/arm/arm-smmu-v3): stage-1 domains with context descriptors and PASIDs, stage-2 domains as nest parents, dirty
/// tracking.
/// </summary>
/// <remarks>
/// Does not model: ATS and PRI, stalls, SVA, command queue errors. The machine is fully coherent (the firmware's CANWBS), so virtual SMMUs can be
/// made.
/// </remarks>
public sealed partial class SmmuOps : IommuOps
{
    private readonly SmmuBlockedDomain _blocked;
    private readonly List<SmmuDriver> _units = [];

    /// <summary>A driver without units.</summary>
    public SmmuOps() => _blocked = new SmmuBlockedDomain(this);

    /// <summary>The window in which the kernel maps the doorbells of interrupts.</summary>
    public static ReservedRegion MsiRegion => new(0x8000000, 0x100000, ReservedRegionType.SoftwareMsi);

    /// <inheritdoc/>
    public override IommuDomain BlockedDomain => _blocked;

    /// <inheritdoc/>
    public override bool HasHardwareInfo => true;

    /// <summary>Brings a unit up: every stream aborts, commands and events running.</summary>
    public void Probe(SmmuV3Unit unit)
    {
        lock (_units)
        {
            _units.Add(new SmmuDriver(unit, Print) { Faulted = fault => Faulted?.Invoke(fault) });
        }
    }

    /// <inheritdoc/>
    internal override int ProbeDevice(object unit, string name, ushort[] ids) => DriverOf(unit).InsertMaster(name, ids);

    /// <inheritdoc/>
    internal override void ReleaseDevice(IommuDevice device) => DriverOf(device).RemoveMaster(device.Name);

    /// <inheritdoc/>
    public override bool Capable(IommuDevice device, IommuCapability capability) => capability switch
    {
        IommuCapability.CacheCoherency => DriverOf(device).IsCoherent,
        IommuCapability.EnforceCacheCoherency or IommuCapability.DeferredFlush => true,
        IommuCapability.DirtyTracking => DriverOf(device) is { HasDirtyTracking: true, IsCoherent: true },
        _ => false,
    };

    /// <inheritdoc/>
    public override int DomainAllocPaging(IommuDevice device, uint flags, IommuUserData? data, out IommuDomain? domain)
    {
        const uint Parent = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT;
        const uint Dirty = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
        const uint Pasid = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID;
        domain = null;
        var driver = DriverOf(device);
        if (data != null)
        {
            return -Errno.EOPNOTSUPP;
        }

        switch (flags)
        {
            case 0:
                domain = driver.HasStage1
                    ? SmmuStage1Domain.TryCreate(this, IommuDomainType.Unmanaged, driver, tracksDirty: false)
                    : SmmuStage2Domain.TryCreate(this, IommuDomainType.Unmanaged, driver);
                break;
            case Parent when driver.HasStage1 && driver.HasStage2:
                domain = SmmuStage2Domain.TryCreate(this, IommuDomainType.Unmanaged, driver);
                break;
            case Dirty or Pasid or (Dirty | Pasid) when driver.HasStage1:
                domain = SmmuStage1Domain.TryCreate(this, IommuDomainType.Unmanaged, driver, (flags & Dirty) != 0);
                break;
            default:
                return -Errno.EOPNOTSUPP;
        }

        return domain == null ? -Errno.ENOMEM : 0;
    }

    /// <inheritdoc/>
    public override IommuDomain DomainAllocDefault(IommuDevice device)
    {
        var driver = DriverOf(device);
        var domain = driver.HasStage1
            ? (IommuDomain?)SmmuStage1Domain.TryCreate(this, IommuDomainType.Dma, driver, tracksDirty: false)
            : SmmuStage2Domain.TryCreate(this, IommuDomainType.Dma, driver);
        return domain ?? _blocked;
    }

    /// <inheritdoc/>
    public override int HardwareInfo(IommuDevice device, ref uint type, Span<byte> data)
    {
        const uint Smmu = (uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
        if (type != (uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_DEFAULT && type != Smmu)
        {
            return -Errno.EOPNOTSUPP;
        }

        var driver = DriverOf(device);
        var info = new iommu_hw_info_arm_smmuv3 { iidr = driver.Read(0x18), aidr = driver.Read(SmmuRegister.AIDR) };
        for (var i = 0; i < 6; i++)
        {
            info.idr[i] = driver.Read(4 * i);
        }

        MemoryMarshal.Write(data, in info);
        type = Smmu;
        return Unsafe.SizeOf<iommu_hw_info_arm_smmuv3>();
    }

    internal override bool HasViommu(IommuDevice device, uint type) =>
        type == (uint)iommu_viommu_type.IOMMU_VIOMMU_TYPE_ARM_SMMUV3 && DriverOf(device) is { HasStage1: true, HasStage2: true };

    internal override IommufdViommu ViommuNew(IommufdContext context, IommuDevice device, uint type, HwptPaging parent) =>
        new SmmuViommu(context, this, device, parent);

    internal SmmuDriver DriverOf(IommuDevice device) => DriverOf(device.Unit!);

    private SmmuDriver DriverOf(object unit)
    {
        lock (_units)
        {
            return _units.Find(u => u.Unit == unit) ?? throw new InvalidOperationException("A device's SMMU was not probed.");
        }
    }
}

/// <summary>All DMA aborts.</summary>
internal sealed class SmmuBlockedDomain(SmmuOps owner) : IommuDomain(IommuDomainType.Blocked, owner)
{
    public override bool CanAttachPasid => true;

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((SmmuOps)Owner).DriverOf(device);
        var rc = driver.SetStream(device.RequesterId, [1, 0, 0, 0]);
        if (rc != 0)
        {
            return rc;
        }

        (old as ISmmuAttached)?.Detach(device);
        return 0;
    }

    public override int SetDevicePasid(IommuDevice device, uint pasid, IommuDomain? old)
    {
        (old as SmmuStage1Domain)?.ClearPasid(device, pasid);
        return 0;
    }
}

/// <summary>A domain that devices use.</summary>
internal interface ISmmuAttached
{
    /// <summary>The device's stream has another domain now.</summary>
    void Detach(IommuDevice device);
}
