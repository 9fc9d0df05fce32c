using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_group_status.</summary>
public static partial class Vfio
{
    /// <summary>No other DMA owner holds a member.</summary>
    public const uint VFIO_GROUP_FLAGS_VIABLE = 1 << 0;

    /// <summary>The group is in a container.</summary>
    public const uint VFIO_GROUP_FLAGS_CONTAINER_SET = 1 << 1;
}

/// <summary>Argument of VFIO_GROUP_GET_STATUS.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_group_status
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>Out: VFIO_GROUP_FLAGS_*.</summary>
    public uint flags;
}
