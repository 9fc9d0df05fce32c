namespace IommuFd;

/// <summary>How a <see cref="DmaBuffer"/> is to be allocated.</summary>
public sealed record DmaBufferOptions
{
    /// <summary>4 KiB, the page every supported machine has (arm64 kernels may use larger ones: then theirs).</summary>
    public const ulong Page4K = 1UL << 12;

    /// <summary>2 MiB pages (hugetlbfs pool, <c>vm.nr_hugepages</c>).</summary>
    public const ulong Page2M = 1UL << 21;

    /// <summary>1 GiB pages (<c>hugepagesz=1G hugepages=N</c> on the kernel's command line).</summary>
    public const ulong Page1G = 1UL << 30;

    /// <summary>The page size wanted: <see cref="Page4K"/>, <see cref="Page2M"/> or <see cref="Page1G"/>. Smaller ones are taken when the pool is
    /// empty;
    /// <see cref="DmaBuffer.PageSize"/> says which it became.</summary>
    public ulong PageSize { get; init; } = Page4K;

    /// <summary>False: fail rather than take smaller pages.</summary>
    public bool AllowSmallerPages { get; init; } = true;

    /// <summary>
    /// True: the memory is a memfd, which can be mapped with IOMMU_IOAS_MAP_FILE, passed to another process and moved with CHANGE_PROCESS.
    /// </summary>
    public bool MemFd { get; init; }

    /// <summary>The preferred NUMA node, or -1 for the node that touches the memory first.</summary>
    public int NumaNode { get; init; } = -1;
}
