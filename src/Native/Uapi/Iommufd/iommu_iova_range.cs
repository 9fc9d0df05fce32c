using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>A closed interval of I/O virtual addresses.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_iova_range
{
    /// <summary>First address, in bytes.</summary>
    public ulong start;

    /// <summary>Last address, inclusive.</summary>
    public ulong last;
}
