using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Argument of IOMMU_DESTROY: ends the life of any object of this context. EBUSY while something refers to it.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_destroy
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: object id, of any type that user space may destroy.</summary>
    public uint id;
}
