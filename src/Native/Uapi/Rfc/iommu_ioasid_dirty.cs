using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of iommu_ioasid_dirty (ours): exactly one of the first three.</summary>
public static partial class Rfc
{
    /// <summary>Start tracking.</summary>
    public const uint IOMMU_IOASID_DIRTY_START = 1 << 0;

    /// <summary>Stop tracking.</summary>
    public const uint IOMMU_IOASID_DIRTY_STOP = 1 << 1;

    /// <summary>Read the dirty pages.</summary>
    public const uint IOMMU_IOASID_DIRTY_GET_BITMAP = 1 << 2;

    /// <summary>With GET_BITMAP: leave them dirty.</summary>
    public const uint IOMMU_IOASID_DIRTY_NO_CLEAR = 1 << 3;
}

/// <summary>Argument of IOMMU_IOASID_DIRTY: dirty tracking, after VFIO type 1. Layout ours.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioasid_dirty
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: IOMMU_IOASID_DIRTY_*.</summary>
    public uint flags;

    /// <summary>In: address space.</summary>
    public int ioasid;

    /// <summary>Must be 0.</summary>
    public uint __reserved;

    /// <summary>In: first address, for GET_BITMAP.</summary>
    public ulong iova;

    /// <summary>In: length in bytes, for GET_BITMAP.</summary>
    public ulong size;

    /// <summary>In: where to and how fine, for GET_BITMAP. Bits are set, never cleared.</summary>
    public vfio_bitmap bitmap;
}
