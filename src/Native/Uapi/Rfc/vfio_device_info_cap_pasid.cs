using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>
/// Capability id (the RFC's) and flags (names the RFC's, values ours) of vfio_device_info_cap_pasid. Today's Linux uses id 5 for PCI AtomicOps.
/// </summary>
public static partial class Rfc
{
    /// <summary>Capability: the device may have several address spaces.</summary>
    public const ushort VFIO_DEVICE_INFO_CAP_PASID = 5;

    /// <summary>The PASID table is the user's: no vPASID at attach.</summary>
    public const uint PASID_DELEGATED = 1 << 0;

    /// <summary>vPASIDs may be used in CPU instructions (ENQCMD).</summary>
    public const uint PASID_CPU = 1 << 1;

    /// <summary>Those must be translated by KVM.</summary>
    public const uint PASID_CPU_VIRT = 1 << 2;
}

/// <summary>Capability VFIO_DEVICE_INFO_CAP_PASID of VFIO_DEVICE_GET_INFO. Layout ours.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_info_cap_pasid
{
    /// <summary>Head of the capability.</summary>
    public vfio_info_cap_header header;

    /// <summary>Out: PASID_*.</summary>
    public uint flags;

    /// <summary>Out: width of vPASIDs in bits.</summary>
    public uint width;
}
