namespace IommuFd.Native.Uapi;

/// <summary>Fixed region and interrupt indexes of vfio-pci.</summary>
public static partial class Vfio
{
    /// <summary>Region: BAR 0.</summary>
    public const uint VFIO_PCI_BAR0_REGION_INDEX = 0;

    /// <summary>Region: BAR 1.</summary>
    public const uint VFIO_PCI_BAR1_REGION_INDEX = 1;

    /// <summary>Region: BAR 2.</summary>
    public const uint VFIO_PCI_BAR2_REGION_INDEX = 2;

    /// <summary>Region: BAR 3.</summary>
    public const uint VFIO_PCI_BAR3_REGION_INDEX = 3;

    /// <summary>Region: BAR 4.</summary>
    public const uint VFIO_PCI_BAR4_REGION_INDEX = 4;

    /// <summary>Region: BAR 5.</summary>
    public const uint VFIO_PCI_BAR5_REGION_INDEX = 5;

    /// <summary>Region: expansion ROM.</summary>
    public const uint VFIO_PCI_ROM_REGION_INDEX = 6;

    /// <summary>Region: configuration space.</summary>
    public const uint VFIO_PCI_CONFIG_REGION_INDEX = 7;

    /// <summary>Region: the legacy VGA ranges at their own addresses as offsets (0x3b0, 0x3c0, 0xa0000).</summary>
    public const uint VFIO_PCI_VGA_REGION_INDEX = 8;

    /// <summary>Number of fixed regions; higher indexes carry vfio_region_info_cap_type.</summary>
    public const uint VFIO_PCI_NUM_REGIONS = 9;

    /// <summary>Interrupt: INTx pin.</summary>
    public const uint VFIO_PCI_INTX_IRQ_INDEX = 0;

    /// <summary>Interrupt: MSI.</summary>
    public const uint VFIO_PCI_MSI_IRQ_INDEX = 1;

    /// <summary>Interrupt: MSI-X.</summary>
    public const uint VFIO_PCI_MSIX_IRQ_INDEX = 2;

    /// <summary>Interrupt: uncorrected PCIe error.</summary>
    public const uint VFIO_PCI_ERR_IRQ_INDEX = 3;

    /// <summary>Interrupt: the host wants the device back.</summary>
    public const uint VFIO_PCI_REQ_IRQ_INDEX = 4;

    /// <summary>Number of fixed interrupts.</summary>
    public const uint VFIO_PCI_NUM_IRQS = 5;
}
