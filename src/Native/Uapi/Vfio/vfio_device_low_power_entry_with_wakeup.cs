using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Payload of VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_device_low_power_entry_with_wakeup
{
    /// <summary>In: eventfd signalled when the device has left low power.</summary>
    public int wakeup_eventfd;

    /// <summary>Must be 0.</summary>
    public uint reserved;
}
