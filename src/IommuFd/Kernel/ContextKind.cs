namespace IommuFd;

/// <summary>The kernel interface behind an <see cref="IommuContext"/>.</summary>
public enum ContextKind
{
    /// <summary><c>/dev/iommu</c>, Linux 6.2 and later.</summary>
    Iommufd,

    /// <summary>
    /// <c>/dev/vfio/vfio</c>: one type1 container for each group. The same model with less: no PASID, no hardware page tables, locked memory counted
    /// once per group, and the library chooses IOVAs.
    /// </summary>
    Container,

    /// <summary>The <c>/dev/iommu</c> of the proposal (RFC v2, 2021), which was never merged; the simulator's machine <c>rfc</c> has it.</summary>
    Rfc,
}
