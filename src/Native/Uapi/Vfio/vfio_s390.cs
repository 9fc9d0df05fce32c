namespace IommuFd.Native.Uapi;

/// <summary>Fixed region and interrupt indexes of vfio-ccw and vfio-ap.</summary>
public static partial class Vfio
{
    /// <summary>Channel I/O region: configuration.</summary>
    public const uint VFIO_CCW_CONFIG_REGION_INDEX = 0;

    /// <summary>Channel I/O: number of fixed regions.</summary>
    public const uint VFIO_CCW_NUM_REGIONS = 1;

    /// <summary>Channel I/O interrupt: I/O done.</summary>
    public const uint VFIO_CCW_IO_IRQ_INDEX = 0;

    /// <summary>Channel I/O interrupt: channel report word.</summary>
    public const uint VFIO_CCW_CRW_IRQ_INDEX = 1;

    /// <summary>Channel I/O interrupt: the host wants the device back.</summary>
    public const uint VFIO_CCW_REQ_IRQ_INDEX = 2;

    /// <summary>Channel I/O: number of interrupts.</summary>
    public const uint VFIO_CCW_NUM_IRQS = 3;

    /// <summary>Crypto interrupt: the host wants the device back.</summary>
    public const uint VFIO_AP_REQ_IRQ_INDEX = 0;

    /// <summary>Crypto interrupt: configuration changed.</summary>
    public const uint VFIO_AP_CFG_CHG_IRQ_INDEX = 1;

    /// <summary>Crypto: number of interrupts.</summary>
    public const uint VFIO_AP_NUM_IRQS = 2;
}
