using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags and capability ids of vfio_iommu_type1_info.</summary>
public static partial class Vfio
{
    /// <summary>iova_pgsizes is valid.</summary>
    public const uint VFIO_IOMMU_INFO_PGSIZES = 1 << 0;

    /// <summary>cap_offset is valid.</summary>
    public const uint VFIO_IOMMU_INFO_CAPS = 1 << 1;

    /// <summary>Capability: vfio_iommu_type1_info_cap_iova_range.</summary>
    public const ushort VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;

    /// <summary>Capability: vfio_iommu_type1_info_cap_migration.</summary>
    public const ushort VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION = 2;

    /// <summary>Capability: vfio_iommu_type1_info_dma_avail.</summary>
    public const ushort VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL = 3;
}

/// <summary>Argument of VFIO_IOMMU_GET_INFO. Capabilities follow it in the same buffer.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_iommu_type1_info
{
    /// <summary>In: size of the buffer in bytes. Out: size needed.</summary>
    public uint argsz;

    /// <summary>Out: VFIO_IOMMU_INFO_*.</summary>
    public uint flags;

    /// <summary>Out: bit n set: pages of 2^n bytes.</summary>
    public ulong iova_pgsizes;

    /// <summary>Out: offset in bytes from this struct to the first capability, 0 without one.</summary>
    public uint cap_offset;

    /// <summary>0.</summary>
    public uint pad;
}

/// <summary>A closed interval of I/O virtual addresses.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_iova_range
{
    /// <summary>First address.</summary>
    public ulong start;

    /// <summary>Last address, inclusive.</summary>
    public ulong end;
}

/// <summary>Capability VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: where mapping is permitted. An array of vfio_iova_range follows.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_iommu_type1_info_cap_iova_range
{
    /// <summary>Offset in bytes of iova_ranges[] from this struct.</summary>
    public const int iova_ranges_offset = 16;

    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: number of ranges.</summary>
    public uint nr_iovas;

    /// <summary>0.</summary>
    public uint reserved;
}

/// <summary>Capability VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION: dirty pages can be logged.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_iommu_type1_info_cap_migration
{
    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: 0. Four bytes of padding follow.</summary>
    public uint flags;

    /// <summary>Out: bit n set: 2^n bytes per bit of the bitmap.</summary>
    public ulong pgsize_bitmap;

    /// <summary>Out: most bytes of one bitmap.</summary>
    public ulong max_dirty_bitmap_size;
}

/// <summary>Capability VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_iommu_type1_info_dma_avail
{
    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: mappings that can still be made.</summary>
    public uint avail;
}
