using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A slice of a physical IOMMU that user space can give to a guest (struct iommufd_viommu). A driver derives its own kind.</summary>
internal abstract class IommufdViommu(IommufdContext context, uint kind, object unit, HwptPaging parent) : IommufdObject(IommufdObjectType.Viommu)
{
    internal IommufdContext Context { get; } = context;

    /// <summary>iommu_viommu_type.</summary>
    internal uint Kind { get; } = kind;

    /// <summary>The physical unit; only devices behind it can be used.</summary>
    internal object Unit { get; } = unit;

    /// <summary>The nesting parent: the guest's physical memory.</summary>
    internal HwptPaging Parent { get; } = parent;

    /// <summary>True when invalidation requests are taken.</summary>
    internal virtual bool CanInvalidate => false;

    /// <summary>Invalidates as the user asks; sets how many entries were handled.</summary>
    internal virtual int CacheInvalidate(ref IommuUserDataArray array) => -Errno.EOPNOTSUPP;

    /// <summary>True when nested tables can be made on it.</summary>
    protected virtual bool CanAllocNested => false;

    /// <summary>alloc_domain_nested.</summary>
    protected virtual int DomainAllocNested(uint flags, in IommuUserData data, out IommuDomain? domain)
    {
        domain = null;
        return -Errno.EOPNOTSUPP;
    }

    /// <summary>iommufd_viommu_alloc_hwpt_nested.</summary>
    internal int AllocNested(uint flags, in IommuUserData data, out HwptNested? hwpt)
    {
        hwpt = null;
        if ((flags & ~IommufdContext.NestedFlagBits) != 0 || data.Length == 0 || !CanAllocNested)
        {
            return -Errno.EOPNOTSUPP;
        }

        AddUser();
        var rc = DomainAllocNested(IommufdContext.WithoutFault(flags), data, out var domain);
        return Context.AdoptNested(new HwptNested(Context, Parent, this) { PasidCompatible = IommufdContext.IsPasid(flags) }, rc, domain, out hwpt);
    }

    internal override void Destroy() => Parent.DropUser();
}
