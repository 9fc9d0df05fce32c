using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of iommu_device_info (September 2021) and ids of the capabilities behind it (ours, except the IOVA ranges).</summary>
public static partial class Rfc
{
    /// <summary>The IOMMU can enforce snooping for this device.</summary>
    public const uint IOMMU_DEVICE_INFO_ENFORCE_SNOOP = 1 << 0;

    /// <summary>pgsize_bitmap is valid.</summary>
    public const uint IOMMU_DEVICE_INFO_PGSIZES = 1 << 1;

    /// <summary>addr_width is valid.</summary>
    public const uint IOMMU_DEVICE_INFO_ADDR_WIDTH = 1 << 2;

    /// <summary>cap_offset is valid. 0 in it means that argsz was too small for the capabilities.</summary>
    public const uint IOMMU_DEVICE_INFO_CAPS = 1 << 3;

    /// <summary>Capability: vfio_iommu_type1_info_cap_iova_range; VFIO's id and struct, as in September 2021.</summary>
    public const ushort IOMMU_DEVICE_INFO_CAP_IOVA_RANGE = 1;

    /// <summary>Capability (ours): iommu_device_info_cap_nesting.</summary>
    public const ushort IOMMU_DEVICE_INFO_CAP_NESTING = 0x100;

    /// <summary>Capability (ours): iommu_device_info_cap_formats for user page tables.</summary>
    public const ushort IOMMU_DEVICE_INFO_CAP_USER_PGTABLE = 0x101;

    /// <summary>Capability (ours): iommu_device_info_cap_formats for user PASID tables.</summary>
    public const ushort IOMMU_DEVICE_INFO_CAP_USER_PASID_TABLE = 0x102;

    /// <summary>Capability (ours): iommu_device_info_cap_dirty.</summary>
    public const ushort IOMMU_DEVICE_INFO_CAP_DIRTY = 0x103;

    /// <summary>The IOMMU walks child and parent (ours).</summary>
    public const uint IOMMU_DEVICE_INFO_NESTING_HW = 1 << 0;

    /// <summary>The kernel merges child and parent into a shadow (ours).</summary>
    public const uint IOMMU_DEVICE_INFO_NESTING_SW = 1 << 1;
}

/// <summary>
/// Argument of IOMMU_DEVICE_GET_INFO (September 2021): what the IOMMU offers a bound device. Capabilities follow it in the same buffer.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_device_info
{
    /// <summary>In: size of the buffer in bytes. Out: size needed, when that is more.</summary>
    public uint argsz;

    /// <summary>Out: IOMMU_DEVICE_INFO_*.</summary>
    public uint flags;

    /// <summary>In: cookie given at bind.</summary>
    public ulong dev_cookie;

    /// <summary>Out: bit n set: pages of 2^n bytes.</summary>
    public ulong pgsize_bitmap;

    /// <summary>Out: widest I/O virtual address in bits.</summary>
    public uint addr_width;

    /// <summary>Out: offset in bytes from this struct to the first capability, 0 without one.</summary>
    public uint cap_offset;
}

/// <summary>Capability IOMMU_DEVICE_INFO_CAP_NESTING. Layout ours.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_device_info_cap_nesting
{
    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: IOMMU_DEVICE_INFO_NESTING_*.</summary>
    public uint flags;

    /// <summary>Out: most levels of child address spaces below a root.</summary>
    public uint max_depth;
}

/// <summary>One table format a device accepts. Layout ours.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_device_info_format
{
    /// <summary>Out: iommu_ioasid_format.</summary>
    public uint format;

    /// <summary>Out: widest input address in bits.</summary>
    public uint addr_width;
}

/// <summary>
/// Capabilities IOMMU_DEVICE_INFO_CAP_USER_PGTABLE and _USER_PASID_TABLE. An array of iommu_device_info_format follows. Layout ours.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_device_info_cap_formats
{
    /// <summary>Offset in bytes of formats[] from this struct.</summary>
    public const int formats_offset = 16;

    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: number of formats.</summary>
    public uint nr_formats;

    /// <summary>0.</summary>
    public uint __reserved;
}

/// <summary>Capability IOMMU_DEVICE_INFO_CAP_DIRTY. Layout ours.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_device_info_cap_dirty
{
    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: bit n set: 2^n bytes per bit of the dirty bitmap.</summary>
    public ulong pgsize_bitmap;
}
