using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Payload of VFIO_DEVICE_FEATURE_ZPCI_ERROR (s390): the pending PCI error; ENOMSG without one.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_feature_zpci_err
{
    /// <summary>In: first bytes of a buffer as long as VFIO_DEVICE_INFO_CAP_ZPCI_BASE says. Out: the error record.</summary>
    public ulong data;
}
