using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A hardware page table: a domain with an id (struct iommufd_hw_pagetable).</summary>
internal abstract class HwPagetable(IommufdContext context, IommufdObjectType type) : IommufdObject(type)
{
    internal IommufdContext Context { get; } = context;

    internal IommuDomain? Domain { get; set; }

    /// <summary>Where page requests of attached devices go; null when there is no queue.</summary>
    internal IommufdFault? Fault { get; set; }

    /// <summary>IOMMU_HWPT_ALLOC_PASID was given.</summary>
    internal bool PasidCompatible { get; init; }

    /// <summary>The table that is filled from an address space: this one, or the parent of a nested one (find_hwpt_paging).</summary>
    internal abstract HwptPaging Paging { get; }

    internal void Adopt(IommuDomain domain)
    {
        domain.Cookie = this;
        Domain = domain;
    }

    protected void FreeDomain()
    {
        Domain?.Free();
        Domain = null;
        Fault?.DropUser();
    }
}

/// <summary>A table that the kernel fills from an address space (struct iommufd_hwpt_paging).</summary>
internal sealed class HwptPaging(IommufdContext context, IommufdIoas ioas) : HwPagetable(context, IommufdObjectType.HwptPaging)
{
    internal IommufdIoas Ioas { get; } = ioas;

    /// <summary>Made by attaching a device to an address space, and destroyed when the last device is gone.</summary>
    internal bool AutoDomain { get; set; }

    internal bool NestParent { get; init; }

    internal bool EnforcesCacheCoherency { get; private set; }

    /// <summary>True while the table is in its address space's list.</summary>
    internal bool IsListed { get; set; }

    /// <summary>The doorbell pages that are mapped in it, a bit for each page of the file.</summary>
    internal ulong PresentSwMsi { get; set; }

    internal override HwptPaging Paging => this;

    internal override void Destroy()
    {
        if (IsListed)
        {
            lock (Ioas.Mutex)
            {
                Ioas.Hwpts.Remove(this);
            }

            IsListed = false;
            Ioas.Pagetable.RemoveDomain(Domain!);
        }

        FreeDomain();
        Ioas.DropUser();
    }

    // The address space's mutex, which is held, is one that a thread may take again.
    internal override void Abort() => Destroy();

    internal int EnforceCacheCoherency()
    {
        if (!EnforcesCacheCoherency)
        {
            EnforcesCacheCoherency = Domain!.EnforceCacheCoherency();
        }

        return EnforcesCacheCoherency ? 0 : -Errno.EINVAL;
    }
}

/// <summary>A table that user space fills, on top of a parent (struct iommufd_hwpt_nested).</summary>
internal sealed class HwptNested(IommufdContext context, HwptPaging parent, IommufdObject holder) : HwPagetable(context, IommufdObjectType.HwptNested)
{
    internal override HwptPaging Paging => parent;

    internal override void Destroy()
    {
        FreeDomain();

        // The parent, or the virtual IOMMU that holds it.
        holder.DropUser();
    }
}
