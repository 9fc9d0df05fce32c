using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>A first-stage table of user space on top of a second-stage parent (drivers/iommu/intel/nested.c).</summary>
internal sealed class VtdNestedDomain : VtdDomain, IUserTableDomain
{
    private const ulong Sre = (ulong)iommu_hwpt_vtd_s1_flags.IOMMU_VTD_S1_SRE, Eafe = (ulong)iommu_hwpt_vtd_s1_flags.IOMMU_VTD_S1_EAFE;
    private const ulong Wpe = (ulong)iommu_hwpt_vtd_s1_flags.IOMMU_VTD_S1_WPE;

    private readonly VtdPagingDomain _parent;
    private readonly iommu_hwpt_vtd_s1 _config;

    internal VtdNestedDomain(VtdOps owner, VtdPagingDomain parent, in iommu_hwpt_vtd_s1 config)
        : base(IommuDomainType.Nested, owner)
    {
        _parent = parent;
        _config = config;
        parent.AddNested(this);
    }

    public override bool CanInvalidateUser => true;

    public override int CacheInvalidateUser(ref IommuUserDataArray array)
    {
        const ulong Page = 4096;
        const uint Type = (uint)iommu_hwpt_invalidate_data_type.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1;
        var count = array.EntryCount;
        array.EntryCount = 0;
        if (array.Type != Type)
        {
            return -Errno.EINVAL;
        }

        var requests = array with { EntryCount = count };
        for (uint i = 0; i < count; i++)
        {
            var rc = requests.Copy(Type, i, 24, out iommu_hwpt_vtd_s1_invalidate request);
            if (rc != 0)
            {
                return rc;
            }

            if ((request.flags & ~(uint)iommu_hwpt_vtd_s1_invalidate_flags.IOMMU_VTD_INV_FLAGS_LEAF) != 0 || request.__reserved != 0)
            {
                return -Errno.EOPNOTSUPP;
            }

            if (request.addr % Page != 0 || (request.npages == ulong.MaxValue && request.addr != 0))
            {
                return -Errno.EINVAL;
            }

            var last = request.npages == ulong.MaxValue ? ulong.MaxValue : request.addr + (request.npages * Page) - 1;
            lock (Gate)
            {
                foreach (var use in Units)
                {
                    foreach (var (device, pasid) in use.Devices)
                    {
                        use.Driver.InvalidatePasidPages(use.Id, pasid, request.addr, last);
                        use.Driver.InvalidateDeviceTlb(device, pasid, request.addr, last);
                    }
                }
            }

            array.EntryCount++;
        }

        return 0;
    }

    public override void Free() => _parent.RemoveNested(this);

    /// <inheritdoc/>
    public void Invalidate(in UserTableChange change)
    {
        const uint Unit = Rfc.IOMMU_CACHE_INV_TYPE_IOTLB | Rfc.IOMMU_CACHE_INV_TYPE_PASID;
        lock (Gate)
        {
            foreach (var use in Units)
            {
                foreach (var (device, pasid) in use.Devices)
                {
                    if (change.Device != null && change.Device != device)
                    {
                        continue;
                    }

                    if (change.Has(Unit))
                    {
                        use.Driver.InvalidatePasidPages(use.Id, pasid, change.First, change.Last);
                    }

                    if (change.Has(Rfc.IOMMU_CACHE_INV_TYPE_DEV_IOTLB))
                    {
                        use.Driver.InvalidateDeviceTlb(device, pasid, change.First, change.Last);
                    }
                }
            }
        }
    }

    /// <summary>The parent's pages changed: no telling which of this table's translations used them.</summary>
    internal void ParentChanged(bool onlyCachingMode)
    {
        lock (Gate)
        {
            foreach (var use in Units)
            {
                foreach (var (device, pasid) in use.Devices)
                {
                    if (!onlyCachingMode || use.Driver.HasCachingMode)
                    {
                        use.Driver.InvalidatePasid(use.Id, pasid);
                    }

                    if (!onlyCachingMode)
                    {
                        use.Driver.InvalidateDeviceTlb(device, pasid, 0, ulong.MaxValue);
                    }
                }
            }
        }
    }

    /// <summary>The parent switched dirty tracking.</summary>
    internal void ParentTracks(bool enable)
    {
        lock (Gate)
        {
            foreach (var use in Units)
            {
                foreach (var (device, pasid) in use.Devices)
                {
                    use.Driver.SetDirtyTracking(device, pasid, enable);
                }
            }
        }
    }

    protected override int Compatible(VtdDriver driver) => _parent.CompatibleWith(driver);

    // intel_pasid_setup_nested
    protected override int Install(VtdDriver driver, int domainId, IommuDevice device, uint pasid)
    {
        if (_config.addr_width is not (48 or 57) || (_config.addr_width == 57 && !driver.HasFirstStage5) ||
            ((_config.flags & Sre) != 0 && !driver.HasSupervisor) || (_config.flags & Eafe) != 0)
        {
            return -Errno.EINVAL;
        }

        var flags = _config.addr_width == 57 ? 1UL << 2 : 0;
        if ((_config.flags & Sre) != 0)
        {
            flags |= 1;
            flags |= (_config.flags & Wpe) != 0 ? 1UL << 4 : 0;
        }

        var entry = new VtdDriver.PasidEntry(
            VtdDriver.Transfer.Nested, domainId, _config.pgtbl_addr & ~0xfffUL, flags, _parent.Root, _parent.AddressWidth, _parent.IsTracking);
        return driver.SetPasid(device, pasid, entry);
    }
}
