using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// Devices that cannot be told apart or kept apart by their IOMMU, and who may use their DMA (struct iommu_group, drivers/iommu/iommu.c). All of them
/// have the same domain.
/// </summary>
/// <remarks>
/// Does not model: deferred attach, changing the default domain's type, and the blocked time of a device that is being reset.
/// </remarks>
/// <param name="id">Its number under /sys/kernel/iommu_groups.</param>
public sealed partial class IommuGroup(int id)
{
    private readonly Lock _mutex = new();
    private readonly List<IommuDevice> _devices = [];
    private readonly SortedList<uint, IommuAttachHandle?> _pasids = [];
    private object? _owner;
    private int _ownerCount;

    /// <summary>Its number.</summary>
    public int Id { get; } = id;

    /// <summary>Its name, or null.</summary>
    public string? Name { get; init; }

    /// <summary>The domain for the host's own DMA; null until the first device is added.</summary>
    public IommuDomain? DefaultDomain { get; private set; }

    /// <summary>The domain that refuses DMA; null until somebody claimed ownership.</summary>
    public IommuDomain? BlockingDomain { get; private set; }

    /// <summary>The domain in use.</summary>
    public IommuDomain? Domain { get; private set; }

    /// <summary>Its devices now.</summary>
    public IommuDevice[] Devices
    {
        get
        {
            lock (_mutex)
            {
                return [.. _devices];
            }
        }
    }

    /// <summary>True while a driver or an owner uses the group's DMA (iommu_group_dma_owner_claimed).</summary>
    public bool IsDmaOwnerClaimed
    {
        get
        {
            lock (_mutex)
            {
                return _ownerCount != 0;
            }
        }
    }

    /// <summary>True when no device of the group can raise another one's interrupts (iommu_group_has_isolated_msi).</summary>
    public bool HasIsolatedMsi
    {
        get
        {
            lock (_mutex)
            {
                return _devices.TrueForAll(d => d.HasIsolatedMsi);
            }
        }
    }

    /// <summary>False while a driver of the host uses a member's DMA, so that the group cannot be handed out.</summary>
    public bool IsViable
    {
        get
        {
            lock (_mutex)
            {
                return _ownerCount == 0 || _owner != null;
            }
        }
    }

    /// <summary>A device appears on its bus; it gets the group's domain, the first one makes the default domain.</summary>
    /// <returns>0, or the driver's error.</returns>
    public int AddDevice(IommuDevice device)
    {
        lock (_mutex)
        {
            if (device.Ops != null)
            {
                Domain ??= DefaultDomain ??= device.Ops.DomainAllocDefault(device);
                var rc = Domain.AttachDevice(device, null);
                if (rc != 0)
                {
                    return rc;
                }
            }

            _devices.Add(device);
            device.Group = this;
            return 0;
        }
    }

    /// <summary>A device disappears; its DMA is refused from now on.</summary>
    public void RemoveDevice(IommuDevice device)
    {
        lock (_mutex)
        {
            if (!_devices.Remove(device))
            {
                return;
            }

            if (Domain != null)
            {
                _ = device.Ops?.BlockedDomain?.AttachDevice(device, Domain);
            }

            device.Group = null;
        }
    }

    /// <summary>
    /// A driver without driver_managed_dma is about to bind (iommu_device_use_default_domain). Returns 0, or -EBUSY when somebody outside the host's
    /// DMA API owns the group.
    /// </summary>
    public int UseDefaultDomain()
    {
        lock (_mutex)
        {
            if (_ownerCount != 0 && (Domain != DefaultDomain || _owner != null || _pasids.Count != 0))
            {
                return -Errno.EBUSY;
            }

            _ownerCount++;
            return 0;
        }
    }

    /// <summary>Such a driver is gone (iommu_device_unuse_default_domain).</summary>
    public void UnuseDefaultDomain()
    {
        lock (_mutex)
        {
            if (_ownerCount != 0 && _pasids.Count == 0)
            {
                _ownerCount--;
            }
        }
    }

    /// <summary>A VFIO container takes the whole group (iommu_group_claim_dma_owner): -EPERM when anybody, the same owner included, has it.</summary>
    public int ClaimGroupDmaOwner(object owner)
    {
        lock (_mutex)
        {
            return _ownerCount != 0 ? -Errno.EPERM : TakeOwnership(owner);
        }
    }

    /// <summary>
    /// iommufd takes one device (iommu_device_claim_dma_owner): -EPERM when the host's driver or another owner has the group, -EBUSY when the group
    /// is not on its default domain, -EINVAL when a device must stay mapped 1:1. DMA is refused until something is attached.
    /// </summary>
    public int ClaimDmaOwner(object owner)
    {
        lock (_mutex)
        {
            if (_ownerCount == 0)
            {
                return TakeOwnership(owner);
            }

            if (_owner != owner)
            {
                return -Errno.EPERM;
            }

            _ownerCount++;
            return 0;
        }
    }

    /// <summary>Gives one claim back; with the last one the group returns to its default domain (iommu_device_release_dma_owner).</summary>
    public void ReleaseDmaOwner()
    {
        lock (_mutex)
        {
            if (_ownerCount > 1)
            {
                _ownerCount--;
                return;
            }

            if (_ownerCount == 0 || _owner == null)
            {
                return;
            }

            _ownerCount = 0;
            _owner = null;
            _doorbells.Clear();
            SetDomain(DefaultDomain!, mustSucceed: true);
        }
    }

    private int TakeOwnership(object owner)
    {
        if ((Domain != null && Domain != DefaultDomain) || _pasids.Count != 0)
        {
            return -Errno.EBUSY;
        }

        var rc = AllocBlockingDomain();
        if (rc == 0)
        {
            rc = SetDomain(BlockingDomain!, mustSucceed: false);
        }

        if (rc != 0)
        {
            return rc;
        }

        _owner = owner;
        _ownerCount++;
        return 0;
    }

    private int AllocBlockingDomain()
    {
        if (BlockingDomain != null)
        {
            return 0;
        }

        var device = _devices[0];
        BlockingDomain = device.Ops!.BlockedDomain;
        if (BlockingDomain != null)
        {
            return 0;
        }

        var rc = device.Ops.DomainAllocPaging(device, 0, null, out var domain);
        BlockingDomain = domain;
        return rc;
    }
}
