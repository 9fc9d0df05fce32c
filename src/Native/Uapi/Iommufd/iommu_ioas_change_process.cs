using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>
/// Argument of IOMMU_IOAS_CHANGE_PROCESS: all locked memory of this context is counted for the calling process from now on; file mappings only.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_ioas_change_process
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>Must be 0.</summary>
    public uint __reserved;
}
