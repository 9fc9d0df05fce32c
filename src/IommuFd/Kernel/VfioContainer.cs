using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Vfio;

namespace IommuFd;

/// <summary>VFIO_IOMMU_GET_INFO of a type1 container.</summary>
/// <param name="PageSizes">The page sizes of the IOMMU, one bit each.</param>
/// <param name="IovaRanges">Where memory may be mapped; empty when the kernel does not say.</param>
/// <param name="DirtyPageSizes">The page sizes of dirty tracking, one bit each; 0 without it.</param>
/// <param name="MaximumDirtyBitmap">Most bytes of a dirty bitmap.</param>
/// <param name="MappingsLeft">How many more mappings the container takes (65535 in all by default); null when the kernel does not say.</param>
public sealed record ContainerInfo(ulong PageSizes, IReadOnlyList<IovaRange> IovaRanges, ulong DirtyPageSizes,
    ulong MaximumDirtyBitmap, uint? MappingsLeft);

/// <summary>An open <c>/dev/vfio/vfio</c>: the address space of the groups in it, before iommufd (Documentation/driver-api/vfio.rst).</summary>
public sealed unsafe class VfioContainer : Resource
{
    private readonly VfioContainerHandle _handle;

    private VfioContainer(IommuHost host, VfioContainerHandle handle)
    {
        Host = host;
        _handle = handle;
    }

    /// <summary>The machine it was opened on.</summary>
    public IommuHost Host { get; }

    internal VfioContainerHandle Handle => _handle;

    /// <summary>Opens an empty container.</summary>
    /// <exception cref="IommuFdException">There is none, or it may not be opened.</exception>
    public static VfioContainer Open(IommuHost host)
    {
        ArgumentNullException.ThrowIfNull(host);
        int fd = host.Kernel.Open("/dev/vfio/vfio", Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        return fd >= 0 ? new VfioContainer(host, new VfioContainerHandle(host.Kernel, fd)) : throw Failure.Of("open /dev/vfio/vfio", fd);
    }

    /// <summary>VFIO_GET_API_VERSION: 0.</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public int GetApiVersion() => Failure.Check(_handle.Ioctl(VFIO_GET_API_VERSION, 0), nameof(VFIO_GET_API_VERSION));

    /// <summary>VFIO_CHECK_EXTENSION: whether the container (with its groups) has an extension such as VFIO_TYPE1v2_IOMMU.</summary>
    public bool CheckExtension(uint extension) => _handle.Ioctl(VFIO_CHECK_EXTENSION, (nint)extension) > 0;

    /// <summary>
    /// VFIO_SET_IOMMU: chooses the kind of address space, once a group is in the container: VFIO_TYPE1v2_IOMMU, VFIO_TYPE1_IOMMU, VFIO_NOIOMMU_IOMMU.
    /// </summary>
    /// <exception cref="IommuFdException">EINVAL no group is in it, ENODEV no such IOMMU.</exception>
    public void SetIommu(uint type) => _ = Failure.Check(_handle.Ioctl(VFIO_SET_IOMMU, (nint)type), nameof(VFIO_SET_IOMMU));

    /// <summary>VFIO_IOMMU_GET_INFO with its capabilities.</summary>
    /// <exception cref="IommuFdException">EINVAL no IOMMU is set.</exception>
    public ContainerInfo GetInfo()
    {
        _ = Failure.Check(ArgszQuery.Run(_handle, VFIO_IOMMU_GET_INFO, default(vfio_iommu_type1_info), out byte[] answer),
            nameof(VFIO_IOMMU_GET_INFO));
        vfio_iommu_type1_info info = ArgszQuery.Head<vfio_iommu_type1_info>(answer);
        List<IovaRange> ranges = [];
        (ulong dirty, ulong bitmap) = (0, 0);
        uint? left = null;
        CapabilityChain chain = new(answer, (info.flags & VFIO_IOMMU_INFO_CAPS) != 0 ? info.cap_offset : 0);
        while (chain.Next())
        {
            switch (chain.Id)
            {
                case VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE when chain.Body.Length >= sizeof(vfio_iommu_type1_info_cap_iova_range):
                    uint count = MemoryMarshal.Read<vfio_iommu_type1_info_cap_iova_range>(chain.Body).nr_iovas;
                    ReadOnlySpan<vfio_iova_range> wire =
                        MemoryMarshal.Cast<byte, vfio_iova_range>(chain.Body[vfio_iommu_type1_info_cap_iova_range.iova_ranges_offset..]);
                    for (int i = 0; i < Math.Min(count, (uint)wire.Length); i++)
                    {
                        ranges.Add(new IovaRange(wire[i].start, wire[i].end));
                    }

                    break;
                case VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION when MemoryMarshal.TryRead(chain.Body, out vfio_iommu_type1_info_cap_migration migration):
                    (dirty, bitmap) = (migration.pgsize_bitmap, migration.max_dirty_bitmap_size);
                    break;
                case VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL when MemoryMarshal.TryRead(chain.Body, out vfio_iommu_type1_info_dma_avail available):
                    left = available.avail;
                    break;
            }
        }

        return new ContainerInfo(info.iova_pgsizes, ranges, dirty, bitmap, left);
    }

    /// <summary>VFIO_IOMMU_MAP_DMA. Allocates nothing.</summary>
    /// <exception cref="IommuFdException">EEXIST something is mapped there, ENOMEM the locked-memory limit, ENOSPC too many mappings, EINVAL
    /// alignment or range.</exception>
    public void MapDma(nint address, ulong length, DmaAccess access, ulong iova)
    {
        int result = MapCall(address, length, access, iova);
        if (result < 0)
        {
            throw Failure.Of(nameof(VFIO_IOMMU_MAP_DMA), result, Evidence.Hex("address", (ulong)address), Evidence.Hex("length", length),
                Evidence.Hex("iova", iova));
        }
    }

    /// <summary>VFIO_IOMMU_UNMAP_DMA. Allocates nothing.</summary>
    /// <returns>The bytes that were unmapped; 0 when nothing was mapped there.</returns>
    /// <exception cref="IommuFdException">EINVAL a mapping would be cut (type1v2).</exception>
    public ulong UnmapDma(ulong iova, ulong length)
    {
        int result = UnmapCall(iova, ref length, 0);
        return result >= 0
            ? length
            : throw Failure.Of(nameof(VFIO_IOMMU_UNMAP_DMA), result, Evidence.Hex("iova", iova), Evidence.Hex("length", length));
    }

    /// <summary>VFIO_IOMMU_UNMAP_DMA with VFIO_DMA_UNMAP_FLAG_ALL.</summary>
    /// <returns>The bytes that were unmapped.</returns>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public ulong UnmapAll()
    {
        ulong length = 0;
        _ = Failure.Check(UnmapCall(0, ref length, VFIO_DMA_UNMAP_FLAG_ALL), nameof(VFIO_IOMMU_UNMAP_DMA));
        return length;
    }

    /// <summary>VFIO_IOMMU_DIRTY_PAGES with START or STOP.</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void SetDirtyTracking(bool enabled)
    {
        vfio_iommu_type1_dirty_bitmap command = new()
        {
            argsz = (uint)sizeof(vfio_iommu_type1_dirty_bitmap),
            flags = enabled ? VFIO_IOMMU_DIRTY_PAGES_FLAG_START : VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
        };
        _ = Failure.Check(_handle.Ioctl(VFIO_IOMMU_DIRTY_PAGES, ref command), nameof(VFIO_IOMMU_DIRTY_PAGES));
    }

    /// <summary>VFIO_IOMMU_DIRTY_PAGES with GET_BITMAP: pages written since the last call.</summary>
    /// <exception cref="IommuFdException">EINVAL tracking is off, or the range cuts a mapping.</exception>
    public void GetDirtyBitmap(ulong iova, ulong length, ulong pageSize, Span<ulong> bitmap)
    {
        fixed (ulong* pointer = bitmap)
        {
            // SAFETY: header and range on the stack; the bitmap is pinned and its size is stated, the kernel refuses one that is too short.
            byte* argument = stackalloc byte[vfio_iommu_type1_dirty_bitmap.data_offset + sizeof(vfio_iommu_type1_dirty_bitmap_get)];
            *(vfio_iommu_type1_dirty_bitmap*)argument = new vfio_iommu_type1_dirty_bitmap
            {
                argsz = (uint)(vfio_iommu_type1_dirty_bitmap.data_offset + sizeof(vfio_iommu_type1_dirty_bitmap_get)),
                flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
            };
            vfio_iommu_type1_dirty_bitmap_get* range = (vfio_iommu_type1_dirty_bitmap_get*)(argument + vfio_iommu_type1_dirty_bitmap.data_offset);
            *range = new vfio_iommu_type1_dirty_bitmap_get
            {
                iova = iova, size = length, bitmap = new vfio_bitmap { pgsize = pageSize, size = (ulong)bitmap.Length * 8, data = (ulong)pointer },
            };
            _ = Failure.Check(_handle.Ioctl(VFIO_IOMMU_DIRTY_PAGES, (nint)argument), nameof(VFIO_IOMMU_DIRTY_PAGES));
        }
    }

    internal int MapCall(nint address, ulong length, DmaAccess access, ulong iova)
    {
        vfio_iommu_type1_dma_map command = new()
        {
            argsz = (uint)sizeof(vfio_iommu_type1_dma_map),
            flags = ((access & DmaAccess.Read) != 0 ? VFIO_DMA_MAP_FLAG_READ : 0) | ((access & DmaAccess.Write) != 0 ? VFIO_DMA_MAP_FLAG_WRITE : 0),
            vaddr = (ulong)address,
            iova = iova,
            size = length,
        };
        return _handle.Ioctl(VFIO_IOMMU_MAP_DMA, ref command);
    }

    internal int UnmapCall(ulong iova, ref ulong length, uint flags)
    {
        vfio_iommu_type1_dma_unmap command = new() { argsz = (uint)sizeof(vfio_iommu_type1_dma_unmap), flags = flags, iova = iova, size = length };
        int result = _handle.Ioctl(VFIO_IOMMU_UNMAP_DMA, ref command);
        length = result >= 0 ? command.size : length;
        return result;
    }

    private protected override void Free() => _handle.Dispose();
}
