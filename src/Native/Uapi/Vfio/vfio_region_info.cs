using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags and capability ids of vfio_region_info.</summary>
public static partial class Vfio
{
    /// <summary>The region can be read.</summary>
    public const uint VFIO_REGION_INFO_FLAG_READ = 1 << 0;

    /// <summary>The region can be written.</summary>
    public const uint VFIO_REGION_INFO_FLAG_WRITE = 1 << 1;

    /// <summary>The region, or the areas of the sparse capability, can be mmapped.</summary>
    public const uint VFIO_REGION_INFO_FLAG_MMAP = 1 << 2;

    /// <summary>cap_offset is valid.</summary>
    public const uint VFIO_REGION_INFO_FLAG_CAPS = 1 << 3;

    /// <summary>Capability: vfio_region_info_cap_sparse_mmap.</summary>
    public const ushort VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1;

    /// <summary>Capability: vfio_region_info_cap_type.</summary>
    public const ushort VFIO_REGION_INFO_CAP_TYPE = 2;

    /// <summary>Capability without data: the pages of the MSI-X table can be mmapped.</summary>
    public const ushort VFIO_REGION_INFO_CAP_MSIX_MAPPABLE = 3;

    /// <summary>Capability: vfio_region_info_cap_nvlink2_ssatgt; no longer provided.</summary>
    public const ushort VFIO_REGION_INFO_CAP_NVLINK2_SSATGT = 4;

    /// <summary>Capability: vfio_region_info_cap_nvlink2_lnkspd; no longer provided.</summary>
    public const ushort VFIO_REGION_INFO_CAP_NVLINK2_LNKSPD = 5;
}

/// <summary>
/// Argument of VFIO_DEVICE_GET_REGION_INFO. Capabilities follow it in the same buffer. A size of 0 means that the region does not exist.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_region_info
{
    /// <summary>In: size of the buffer in bytes. Out: size needed.</summary>
    public uint argsz;

    /// <summary>Out: VFIO_REGION_INFO_FLAG_*.</summary>
    public uint flags;

    /// <summary>In: region index.</summary>
    public uint index;

    /// <summary>Out: offset in bytes from this struct to the first capability, 0 without one.</summary>
    public uint cap_offset;

    /// <summary>Out: size of the region in bytes.</summary>
    public ulong size;

    /// <summary>Out: where the region starts in the device file, for read, write and mmap.</summary>
    public ulong offset;
}

/// <summary>One part of a region that can be mmapped.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_region_sparse_mmap_area
{
    /// <summary>Out: offset in bytes within the region.</summary>
    public ulong offset;

    /// <summary>Out: size in bytes.</summary>
    public ulong size;
}

/// <summary>Capability VFIO_REGION_INFO_CAP_SPARSE_MMAP: only these areas can be mmapped. An array of vfio_region_sparse_mmap_area follows.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_region_info_cap_sparse_mmap
{
    /// <summary>Offset in bytes of areas[] from this struct.</summary>
    public const int areas_offset = 16;

    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: number of areas.</summary>
    public uint nr_areas;

    /// <summary>0.</summary>
    public uint reserved;
}

/// <summary>Capability VFIO_REGION_INFO_CAP_TYPE: what a device-specific region is.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_region_info_cap_type
{
    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: VFIO_REGION_TYPE_*, or a PCI vendor id with VFIO_REGION_TYPE_PCI_VENDOR_TYPE.</summary>
    public uint type;

    /// <summary>Out: VFIO_REGION_SUBTYPE_* of that type.</summary>
    public uint subtype;
}

/// <summary>Capability VFIO_REGION_INFO_CAP_NVLINK2_SSATGT; no longer provided.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_region_info_cap_nvlink2_ssatgt
{
    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: compressed system address of the GPU memory.</summary>
    public ulong tgt;
}

/// <summary>Capability VFIO_REGION_INFO_CAP_NVLINK2_LNKSPD; no longer provided.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_region_info_cap_nvlink2_lnkspd
{
    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: speed value of the NVLink.</summary>
    public uint link_speed;

    /// <summary>0.</summary>
    public uint __pad;
}
