using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>One use of a domain by a group or a PASID (struct iommu_attach_handle).</summary>
public class IommuAttachHandle
{
    /// <summary>The domain; set when it is attached.</summary>
    public IommuDomain? Domain { get; internal set; }
}

public sealed partial class IommuGroup
{
    /// <summary>The PASID that stands for requests without one.</summary>
    public const uint NoPasid = 0;

    /// <summary>
    /// iommu_attach_group: gives the group to a container's domain. -EBUSY when it is with another one, -EINVAL when the domain does not fit.
    /// </summary>
    public int AttachGroup(IommuDomain domain)
    {
        lock (_mutex)
        {
            return AttachDomain(domain);
        }
    }

    /// <summary>iommu_detach_group: back to refused DMA while owned, else to the default domain.</summary>
    public void DetachGroup()
    {
        lock (_mutex)
        {
            SetDomain((_owner != null ? BlockingDomain : DefaultDomain)!, mustSucceed: true);
        }
    }

    /// <summary>iommu_attach_group_handle.</summary>
    public int AttachGroupHandle(IommuDomain domain, IommuAttachHandle handle)
    {
        lock (_mutex)
        {
            if (_pasids.ContainsKey(NoPasid))
            {
                return -Errno.EBUSY;
            }

            var rc = AttachDomain(domain);
            if (rc == 0)
            {
                handle.Domain = domain;
                _pasids[NoPasid] = handle;
            }

            return rc;
        }
    }

    /// <summary>iommu_replace_group_handle: changes the domain with no refused DMA in between.</summary>
    public int ReplaceGroupHandle(IommuDomain domain, IommuAttachHandle handle)
    {
        lock (_mutex)
        {
            var rc = SetDomain(domain, mustSucceed: false);
            if (rc == 0)
            {
                handle.Domain = domain;
                _pasids[NoPasid] = handle;
            }

            return rc;
        }
    }

    /// <summary>iommu_detach_group_handle.</summary>
    public void DetachGroupHandle()
    {
        lock (_mutex)
        {
            SetDomain((_owner != null ? BlockingDomain : DefaultDomain)!, mustSucceed: true);
            _pasids.Remove(NoPasid);
        }
    }

    /// <summary>iommu_attach_handle_get: the handle of a PASID (0: of requests without one), or null.</summary>
    public IommuAttachHandle? GetAttachHandle(uint pasid)
    {
        lock (_mutex)
        {
            return _pasids.GetValueOrDefault(pasid);
        }
    }

    /// <summary>
    /// iommu_attach_device_pasid: -EOPNOTSUPP when the driver has no PASIDs, -EINVAL for a foreign domain or a PASID beyond what a device can use,
    /// -EBUSY when the PASID is taken.
    /// </summary>
    public int AttachDevicePasid(IommuDevice device, IommuDomain domain, uint pasid, IommuAttachHandle handle)
    {
        if (!domain.CanAttachPasid || device.Ops?.BlockedDomain is not { CanAttachPasid: true })
        {
            return -Errno.EOPNOTSUPP;
        }

        if (!Compatible(device.Ops, domain) || pasid == NoPasid)
        {
            return -Errno.EINVAL;
        }

        lock (_mutex)
        {
            foreach (var member in _devices)
            {
                if (member.MaxPasids > 0 && pasid >= member.MaxPasids)
                {
                    return -Errno.EINVAL;
                }
            }

            if (_pasids.ContainsKey(pasid))
            {
                return -Errno.EBUSY;
            }

            var rc = SetGroupPasid(domain, pasid, null);
            if (rc == 0)
            {
                handle.Domain = domain;
                _pasids[pasid] = handle;
            }

            return rc;
        }
    }

    /// <summary>iommu_replace_device_pasid: -EINVAL when nothing is attached to the PASID.</summary>
    public int ReplaceDevicePasid(IommuDevice device, IommuDomain domain, uint pasid, IommuAttachHandle handle)
    {
        if (!domain.CanAttachPasid)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (!Compatible(device.Ops, domain) || pasid == NoPasid)
        {
            return -Errno.EINVAL;
        }

        lock (_mutex)
        {
            if (!_pasids.TryGetValue(pasid, out var current) || current == handle)
            {
                return -Errno.EINVAL;
            }

            var rc = current!.Domain == domain ? 0 : SetGroupPasid(domain, pasid, current.Domain);
            if (rc == 0)
            {
                handle.Domain = domain;
                _pasids[pasid] = handle;
            }

            return rc;
        }
    }

    /// <summary>iommu_detach_device_pasid.</summary>
    public void DetachDevicePasid(IommuDomain domain, uint pasid)
    {
        lock (_mutex)
        {
            foreach (var member in _devices)
            {
                if (member.MaxPasids > 0)
                {
                    _ = member.Ops!.BlockedDomain!.SetDevicePasid(member, pasid, domain);
                }
            }

            _pasids.Remove(pasid);
        }
    }

    // Mock devices of several instances share one driver, so the driver alone decides.
    private static bool Compatible(IommuOps? ops, IommuDomain domain) =>
        ops != null && (domain.Owner == ops || domain == ops.BlockedDomain);

    private int AttachDomain(IommuDomain domain)
    {
        if (Domain != null && Domain != DefaultDomain && Domain != BlockingDomain)
        {
            return -Errno.EBUSY;
        }

        return Compatible(_devices[0].Ops, domain) ? SetDomain(domain, mustSucceed: false) : -Errno.EINVAL;
    }

    private int SetDomain(IommuDomain domain, bool mustSucceed)
    {
        if (Domain == domain)
        {
            return 0;
        }

        var result = 0;
        for (var i = 0; i < _devices.Count; i++)
        {
            var rc = SetDeviceDomain(_devices[i], domain, Domain);
            if (rc == 0)
            {
                continue;
            }

            result = rc;
            if (mustSucceed)
            {
                continue;
            }

            for (var back = 0; back < i; back++)
            {
                _ = Domain?.AttachDevice(_devices[back], domain);
            }

            return rc;
        }

        Domain = domain;
        return result;
    }

    private int SetDeviceDomain(IommuDevice device, IommuDomain domain, IommuDomain? old)
    {
        if (device.RequireDirect && (domain.Type == IommuDomainType.Blocked || domain == BlockingDomain))
        {
            return -Errno.EINVAL;
        }

        return domain.AttachDevice(device, old);
    }

    private int SetGroupPasid(IommuDomain domain, uint pasid, IommuDomain? old)
    {
        for (var i = 0; i < _devices.Count; i++)
        {
            if (_devices[i].MaxPasids == 0)
            {
                continue;
            }

            var rc = domain.SetDevicePasid(_devices[i], pasid, old);
            if (rc == 0)
            {
                continue;
            }

            for (var back = 0; back < i; back++)
            {
                if (_devices[back].MaxPasids == 0)
                {
                    continue;
                }

                if (old == null || old.SetDevicePasid(_devices[back], pasid, domain) != 0)
                {
                    _ = _devices[back].Ops!.BlockedDomain!.SetDevicePasid(_devices[back], pasid, domain);
                }
            }

            return rc;
        }

        return 0;
    }
}
