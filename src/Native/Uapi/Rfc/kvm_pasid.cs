using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>
/// Argument of KVM_MAP_PASID and KVM_UNMAP_PASID: which PASID a CPU instruction's vPASID becomes. Layout ours, field names the RFC's.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct kvm_pasid
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>In: must be 0.</summary>
    public uint flags;

    /// <summary>In: descriptor of /dev/iommu.</summary>
    public int iommu_fd;

    /// <summary>In: address space; KVM learns its PASID from the kernel, the user never does.</summary>
    public int ioasid;

    /// <summary>In: the user's PASID.</summary>
    public uint user_pasid;

    /// <summary>Must be 0.</summary>
    public uint __reserved;
}
