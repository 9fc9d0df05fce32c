using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>What a domain does with DMA (IOMMU_DOMAIN_*).</summary>
public enum IommuDomainType
{
    /// <summary>All DMA is refused.</summary>
    Blocked,

    /// <summary>IOVA = physical address.</summary>
    Identity,

    /// <summary>Mappings of an in-kernel user such as iommufd or VFIO.</summary>
    Unmanaged,

    /// <summary>The host's own mappings (strict).</summary>
    Dma,

    /// <summary>The host's own mappings with a flush queue.</summary>
    DmaFq,

    /// <summary>A user's page table on top of a parent domain.</summary>
    Nested,
}

/// <summary>Permissions of a mapping (IOMMU_READ and its kin).</summary>
[Flags]
public enum IommuProt
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Devices may read.</summary>
    Read = 1,

    /// <summary>Devices may write.</summary>
    Write = 2,

    /// <summary>DMA is cache coherent.</summary>
    Cache = 4,

    /// <summary>The memory is a device's registers.</summary>
    Mmio = 16,
}

/// <summary>
/// An I/O page table with the devices that use it (struct iommu_domain). Made by an <see cref="IommuOps"/>; a driver overrides what its hardware can
/// do.
/// </summary>
/// <remarks>Map, unmap and the reading of dirty bits may be called on any number of threads; an implementation puts them in order.</remarks>
/// <param name="type">What it does with DMA.</param>
/// <param name="owner">The driver that made it.</param>
public abstract class IommuDomain(IommuDomainType type, IommuOps owner)
{
    /// <summary>What it does with DMA.</summary>
    public IommuDomainType Type { get; } = type;

    /// <summary>The driver that made it; only devices of the same driver can be attached.</summary>
    public IommuOps Owner { get; } = owner;

    /// <summary>Bit n set: pages of 2^n bytes can be mapped.</summary>
    public ulong PageSizeBitmap { get; protected init; }

    /// <summary>First IOVA that can be mapped.</summary>
    public ulong ApertureStart { get; protected init; }

    /// <summary>Last IOVA that can be mapped, inclusive.</summary>
    public ulong ApertureEnd { get; protected init; } = ulong.MaxValue;

    /// <summary>Whoever the faults and lookups lead back to; iommufd keeps its hardware page table object here.</summary>
    public object? Cookie { get; set; }

    /// <summary>Page requests of attached devices go to it (domain->iopf_handler); null: they are refused.</summary>
    public Action<IoPageFaultGroup>? IopfHandler { get; set; }

    /// <summary>True when the domain can follow which pages devices wrote (dirty_ops).</summary>
    public virtual bool HasDirtyTracking => false;

    /// <summary>True when PASIDs can be attached (ops->set_dev_pasid).</summary>
    public virtual bool CanAttachPasid => false;

    /// <summary>attach_dev: DMA of <paramref name="device"/> without PASID goes through this domain from now on.</summary>
    /// <param name="device">The device.</param>
    /// <param name="old">The domain it had.</param>
    /// <returns>0, or -errno: -EINVAL when domain and device do not fit, so that another domain may.</returns>
    public abstract int AttachDevice(IommuDevice device, IommuDomain? old);

    /// <summary>set_dev_pasid.</summary>
    public virtual int SetDevicePasid(IommuDevice device, uint pasid, IommuDomain? old) => -Errno.EOPNOTSUPP;

    /// <summary>Maps physically contiguous memory, in the largest pages that fit. Everything is a multiple of the smallest page size.</summary>
    /// <param name="iova">First IOVA.</param>
    /// <param name="physical">First physical address.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="prot">Permissions.</param>
    /// <returns>0, -ENOMEM, -EEXIST or -ERANGE; then nothing of the range is mapped.</returns>
    public virtual int Map(ulong iova, ulong physical, ulong size, IommuProt prot) => -Errno.ENODEV;

    /// <summary>Unmaps what <see cref="Map"/> mapped and invalidates the IOTLB before it returns. Never fails for a range that was mapped.</summary>
    /// <returns>Bytes unmapped.</returns>
    public virtual ulong Unmap(ulong iova, ulong size) => 0;

    /// <summary>Walks the table in software: the physical address, or 0 where nothing is mapped.</summary>
    public virtual ulong IovaToPhys(ulong iova) => 0;

    /// <summary>Makes no-snoop transactions coherent; false when the hardware cannot.</summary>
    public virtual bool EnforceCacheCoherency() => false;

    /// <summary>Starts or stops dirty tracking.</summary>
    public virtual int SetDirtyTracking(bool enable) => -Errno.EOPNOTSUPP;

    /// <summary>Reports the dirty pages of a range to <paramref name="dirty"/> and, unless <paramref name="noClear"/>, makes them clean.</summary>
    public virtual int ReadAndClearDirty(ulong iova, ulong length, bool noClear, DirtyBitmap? dirty) => -Errno.EOPNOTSUPP;

    /// <summary>Invalidates caches of a nested domain as the user asks (cache_invalidate_user). Sets how many entries were handled.</summary>
    /// <returns>0 or -errno; -EOPNOTSUPP when the domain has no such operation.</returns>
    public virtual int CacheInvalidateUser(ref IommuUserDataArray array)
    {
        array.EntryCount = 0;
        return -Errno.EOPNOTSUPP;
    }

    /// <summary>True when <see cref="CacheInvalidateUser"/> is there.</summary>
    public virtual bool CanInvalidateUser => false;

    /// <summary>Frees the table. No device is attached any more.</summary>
    public virtual void Free()
    {
    }
}
