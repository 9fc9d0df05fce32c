namespace VfioCli.Output;

/// <summary>Names of PCI classes (PCI Code and ID Assignment Specification, part 1), short enough for a column.</summary>
internal static class PciClass
{
    /// <summary>The name of a 24-bit class code's base class and subclass.</summary>
    public static string Name(uint code) => (code >> 8) switch
    {
        0x0100 => "SCSI storage",
        0x0101 => "IDE storage",
        0x0104 => "RAID storage",
        0x0106 => "SATA storage",
        0x0107 => "SAS storage",
        0x0108 => "NVMe storage",
        0x0200 => "Ethernet",
        0x0207 => "InfiniBand",
        0x0280 => "Network",
        0x0300 => "VGA display",
        0x0302 => "3D display",
        0x0380 => "Display",
        0x0401 or 0x0403 => "Audio",
        0x0500 => "Memory",
        0x0502 => "CXL memory",
        0x0600 => "Host bridge",
        0x0601 => "ISA bridge",
        0x0604 => "PCI bridge",
        0x0605 => "PCMCIA bridge",
        0x0607 => "CardBus bridge",
        0x0609 => "PCI bridge",
        0x0680 => "Bridge",
        0x0700 => "Serial port",
        0x0780 => "Communication",
        0x0800 => "Interrupt controller",
        0x0801 => "DMA engine",
        0x0806 => "IOMMU",
        0x0880 => "System",
        0x0c03 => "USB",
        0x0c05 => "SMBus",
        0x0b40 => "Co-processor",
        0x1000 or 0x1080 => "Crypto",
        0x1180 => "Signal processor",
        0x1200 => "Accelerator",
        0x00ff or 0x0000 => "Unclassified",
        _ => (code >> 16) switch
        {
            0x01 => "Storage",
            0x02 => "Network",
            0x03 => "Display",
            0x04 => "Multimedia",
            0x05 => "Memory",
            0x06 => "Bridge",
            0x07 => "Communication",
            0x08 => "System",
            0x09 => "Input",
            0x0b => "Processor",
            0x0c => "Serial bus",
            0x0d => "Wireless",
            0x12 => "Accelerator",
            _ => "Other",
        },
    };
}
