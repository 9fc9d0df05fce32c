using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of vfio_irq_set: one data type and one action.</summary>
public static partial class Vfio
{
    /// <summary>No data: do it now, for the whole range.</summary>
    public const uint VFIO_IRQ_SET_DATA_NONE = 1 << 0;

    /// <summary>One byte per interrupt: 0 leaves it out.</summary>
    public const uint VFIO_IRQ_SET_DATA_BOOL = 1 << 1;

    /// <summary>One 32-bit descriptor per interrupt: -1 removes or skips.</summary>
    public const uint VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2;

    /// <summary>Mask.</summary>
    public const uint VFIO_IRQ_SET_ACTION_MASK = 1 << 3;

    /// <summary>Unmask.</summary>
    public const uint VFIO_IRQ_SET_ACTION_UNMASK = 1 << 4;

    /// <summary>Trigger; with descriptors: where the interrupt is signalled.</summary>
    public const uint VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5;

    /// <summary>All data types.</summary>
    public const uint VFIO_IRQ_SET_DATA_TYPE_MASK = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_DATA_EVENTFD;

    /// <summary>All actions.</summary>
    public const uint VFIO_IRQ_SET_ACTION_TYPE_MASK = VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_ACTION_TRIGGER;
}

/// <summary>Argument of VFIO_DEVICE_SET_IRQS. The data of the data type follows.</summary>
/// <remarks>Data none, action trigger and count 0 disables the index.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_irq_set
{
    /// <summary>Offset in bytes of data[] from this struct.</summary>
    public const int data_offset = 20;

    /// <summary>In: size in bytes of this struct and its data.</summary>
    public uint argsz;

    /// <summary>In: VFIO_IRQ_SET_DATA_* and VFIO_IRQ_SET_ACTION_*.</summary>
    public uint flags;

    /// <summary>In: interrupt index.</summary>
    public uint index;

    /// <summary>In: first subindex.</summary>
    public uint start;

    /// <summary>In: number of subindexes.</summary>
    public uint count;
}
