using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The AMD driver (drivers/iommu/amd): host page tables that grow at the top, dirty tracking in them, and v2 tables through GCR3 for domains with
/// PASIDs.
/// </summary>
/// <remarks>
/// Does not model: nested domains of iommufd and virtual IOMMUs, unity maps of firmware, device TLBs and page requests, aliases, SNP, interrupt
/// remapping.
/// </remarks>
public sealed partial class AmdOps : IommuOps
{
    private readonly AmdBlockedDomain _blocked;
    private readonly List<AmdDriver> _units = [];

    /// <summary>A driver without units.</summary>
    public AmdOps() => _blocked = new AmdBlockedDomain(this);

    /// <summary>Where devices send their interrupts, and the HyperTransport range: what every device reports.</summary>
    public static IReadOnlyList<ReservedRegion> Regions { get; } =
    [
        new(0xfee00000, 0x100000, ReservedRegionType.Msi),
        new(0xfd00000000, 0x300000000, ReservedRegionType.Reserved),
    ];

    /// <inheritdoc/>
    public override IommuDomain BlockedDomain => _blocked;

    /// <inheritdoc/>
    public override bool HasHardwareInfo => true;

    /// <summary>Brings a unit up: every device blocked, commands and events running.</summary>
    public void Probe(AmdViUnit unit)
    {
        lock (_units)
        {
            _units.Add(new AmdDriver(unit, Print) { Faulted = fault => Faulted?.Invoke(fault) });
        }
    }

    /// <inheritdoc/>
    public override bool Capable(IommuDevice device, IommuCapability capability) => capability switch
    {
        IommuCapability.CacheCoherency or IommuCapability.EnforceCacheCoherency => true,
        IommuCapability.DirtyTracking => DriverOf(device).HasDirtyTracking,
        _ => false,
    };

    /// <inheritdoc/>
    public override int DomainAllocPaging(IommuDevice device, uint flags, IommuUserData? data, out IommuDomain? domain)
    {
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
            case Dirty when driver.HasDirtyTracking:
                domain = AmdHostDomain.TryCreate(this, IommuDomainType.Unmanaged, driver, flags == Dirty);
                break;
            case Pasid when driver.HasGuestTranslation:
                domain = AmdGuestDomain.TryCreate(this, driver);
                break;
            default:
                return -Errno.EOPNOTSUPP;
        }

        return domain == null ? -Errno.ENOMEM : 0;
    }

    /// <inheritdoc/>
    public override IommuDomain DomainAllocDefault(IommuDevice device) =>
        (IommuDomain?)AmdHostDomain.TryCreate(this, IommuDomainType.Dma, DriverOf(device), tracksDirty: false) ?? _blocked;

    /// <inheritdoc/>
    public override int HardwareInfo(IommuDevice device, ref uint type, Span<byte> data)
    {
        const uint Amd = (uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_AMD;
        if (type != (uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_DEFAULT && type != Amd)
        {
            return -Errno.EOPNOTSUPP;
        }

        var info = new iommu_hw_info_amd { efr = DriverOf(device).Features };
        MemoryMarshal.Write(data, in info);
        type = Amd;
        return Unsafe.SizeOf<iommu_hw_info_amd>();
    }

    internal AmdDriver DriverOf(IommuDevice device)
    {
        lock (_units)
        {
            return _units.Find(u => u.Unit == device.Unit) ?? throw new InvalidOperationException($"{device.Name}: its AMD IOMMU was not probed.");
        }
    }
}

/// <summary>All DMA faults: the device table entry is valid and permits nothing.</summary>
internal sealed class AmdBlockedDomain(AmdOps owner) : IommuDomain(IommuDomainType.Blocked, owner)
{
    public override bool CanAttachPasid => true;

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((AmdOps)Owner).DriverOf(device);
        (old as IAmdAttached)?.Detach(device, driver);
        driver.SetEntry(device.RequesterId, AmdDriver.Valid, 0, 0);
        return 0;
    }

    public override int SetDevicePasid(IommuDevice device, uint pasid, IommuDomain? old)
    {
        (old as AmdGuestDomain)?.ClearPasid(device, pasid);
        return 0;
    }
}

/// <summary>A domain that keeps a list of its devices.</summary>
internal interface IAmdAttached
{
    /// <summary>The device goes to another domain.</summary>
    void Detach(IommuDevice device, AmdDriver driver);
}
