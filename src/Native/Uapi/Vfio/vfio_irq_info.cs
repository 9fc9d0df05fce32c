using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_irq_info.</summary>
public static partial class Vfio
{
    /// <summary>Can signal an eventfd.</summary>
    public const uint VFIO_IRQ_INFO_EVENTFD = 1 << 0;

    /// <summary>Can be masked and unmasked.</summary>
    public const uint VFIO_IRQ_INFO_MASKABLE = 1 << 1;

    /// <summary>Is masked by the kernel when it fires (level-triggered); unmask to get the next one.</summary>
    public const uint VFIO_IRQ_INFO_AUTOMASKED = 1 << 2;

    /// <summary>The number of vectors is fixed while the index is enabled.</summary>
    public const uint VFIO_IRQ_INFO_NORESIZE = 1 << 3;
}

/// <summary>Argument of VFIO_DEVICE_GET_IRQ_INFO. A count of 0 means that the interrupt does not exist.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_irq_info
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint argsz;

    /// <summary>Out: VFIO_IRQ_INFO_*.</summary>
    public uint flags;

    /// <summary>In: interrupt index.</summary>
    public uint index;

    /// <summary>Out: number of interrupts (subindexes) of this index.</summary>
    public uint count;
}
