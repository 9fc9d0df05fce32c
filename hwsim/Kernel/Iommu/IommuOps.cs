using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>What a driver can be asked about a device (IOMMU_CAP_*).</summary>
public enum IommuCapability
{
    /// <summary>DMA can be cache coherent (IOMMU_CACHE). Without it iommufd refuses the device.</summary>
    CacheCoherency,

    /// <summary>No-snoop transactions can be made coherent.</summary>
    EnforceCacheCoherency,

    /// <summary>The driver need not invalidate in unmap.</summary>
    DeferredFlush,

    /// <summary>Dirty pages can be tracked.</summary>
    DirtyTracking,

    /// <summary>ATS is there and may be enabled for the device.</summary>
    PciAtsSupported,
}

/// <summary>What a unit with its driver lets PCI functions use.</summary>
/// <param name="MaxPasids">PASIDs, a power of two; 0 for none.</param>
/// <param name="DeviceTlb">ATS.</param>
/// <param name="PageRequests">PRI.</param>
public readonly record struct IommuFeatures(uint MaxPasids, bool DeviceTlb, bool PageRequests);

/// <summary>An IOMMU driver (struct iommu_ops): one per family and machine, for all units of that family.</summary>
public abstract class IommuOps
{
    /// <summary>Where the driver's lines for the kernel's log go (printk); null drops them. Set before a unit is probed.</summary>
    public Action<string>? Print { get; init; }

    /// <summary>The domain that refuses all DMA (ops->blocked_domain); null when the driver knows none and an empty table must serve.</summary>
    public virtual IommuDomain? BlockedDomain => null;

    /// <summary>True when domains can be made with flags and driver data (ops->domain_alloc_paging_flags).</summary>
    public virtual bool HasPagingFlags => true;

    /// <summary>True when nested domains can be made without a virtual IOMMU (ops->domain_alloc_nested).</summary>
    public virtual bool HasNested => false;

    /// <summary>True when a nested domain under a device holds all of its PASIDs (ops->user_pasid_table).</summary>
    public virtual bool HasUserPasidTable => false;

    /// <summary>True when the driver describes its hardware (ops->hw_info).</summary>
    public virtual bool HasHardwareInfo => false;

    /// <summary>Told of refused DMA, while the unit is locked: it may take no lock under which units are programmed.</summary>
    internal Action<IoDmaFault>? Faulted { get; set; }

    /// <summary>What of a PCI function the driver switches on when it is found (probe_device); nothing by default.</summary>
    /// <param name="unit">The unit in front of the function.</param>
    public virtual IommuFeatures Features(object unit) => default;

    /// <summary>Takes a device that appeared, or that a driver is about to get and that was refused before (ops->probe_device).</summary>
    /// <param name="unit">The unit in front of the device.</param>
    /// <param name="name">The device as the log names it: its driver, or its bus without one, and its name.</param>
    /// <param name="ids">All ids that its requests can carry (fwspec->ids).</param>
    /// <returns>0; -errno when the driver cannot serve it, and it has no IOMMU.</returns>
    internal virtual int ProbeDevice(object unit, string name, ushort[] ids) => 0;

    /// <summary>A device that the driver took is gone (ops->release_device).</summary>
    internal virtual void ReleaseDevice(IommuDevice device)
    {
    }

    /// <summary>What the hardware can do for <paramref name="device"/>.</summary>
    public abstract bool Capable(IommuDevice device, IommuCapability capability);

    /// <summary>Makes an empty domain for <paramref name="device"/> that iommufd or VFIO fills.</summary>
    /// <param name="device">The device whose unit defines format and width.</param>
    /// <param name="flags">iommufd_hwpt_alloc_flags without IOMMU_HWPT_FAULT_ID_VALID.</param>
    /// <param name="data">Driver data, or null.</param>
    /// <param name="domain">The domain.</param>
    /// <returns>0, -EOPNOTSUPP for flags or data that the hardware cannot serve, -ENOMEM.</returns>
    public abstract int DomainAllocPaging(IommuDevice device, uint flags, IommuUserData? data, out IommuDomain? domain);

    /// <summary>Makes a domain for the host's own DMA, which is the group's default domain.</summary>
    public abstract IommuDomain DomainAllocDefault(IommuDevice device);

    /// <summary>Makes a nested domain on <paramref name="parent"/>.</summary>
    public virtual int DomainAllocNested(IommuDevice device, IommuDomain parent, uint flags, in IommuUserData data, out IommuDomain? domain)
    {
        domain = null;
        return -Errno.EOPNOTSUPP;
    }

    /// <summary>Describes the hardware behind <paramref name="device"/>.</summary>
    /// <param name="device">The device.</param>
    /// <param name="type">In: iommu_hw_info_type that is wanted, 0 for the driver's main one. Out: what it is.</param>
    /// <param name="data">Room for the largest struct; filled from the start.</param>
    /// <returns>Bytes filled, or -errno: -EOPNOTSUPP for a type the driver does not have.</returns>
    public virtual int HardwareInfo(IommuDevice device, ref uint type, Span<byte> data) => -Errno.EOPNOTSUPP;

    /// <summary>True when virtual IOMMUs of a type can be made for a device (ops->get_viommu_size).</summary>
    internal virtual bool HasViommu(IommuDevice device, uint type) => false;

    /// <summary>Makes a virtual IOMMU, not yet initialised; only for what <see cref="HasViommu"/> answered.</summary>
    internal virtual IommufdViommu ViommuNew(IommufdContext context, IommuDevice device, uint type, HwptPaging parent) =>
        throw new NotSupportedException();
}
