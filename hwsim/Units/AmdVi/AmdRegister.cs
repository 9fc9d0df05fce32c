namespace IommuFd.HwSim.Units;

#pragma warning disable CA1707 // the specification's names have underscores

/// <summary>
/// Offsets of the AMD IOMMU's MMIO registers (AMD I/O Virtualization Technology Specification, section 3.4), named after the specification.
/// </summary>
public static class AmdRegister
{
    /// <summary>Device table base address and size.</summary>
    public const int DEV_TAB_BASE = 0x0000;

    /// <summary>Command buffer base address and length.</summary>
    public const int CMD_BUF_BASE = 0x0008;

    /// <summary>Event log base address and length.</summary>
    public const int EVT_LOG_BASE = 0x0010;

    /// <summary>Control.</summary>
    public const int CONTROL = 0x0018;

    /// <summary>Exclusion range base (not offered).</summary>
    public const int EXCL_BASE = 0x0020;

    /// <summary>Exclusion range limit (not offered).</summary>
    public const int EXCL_LIMIT = 0x0028;

    /// <summary>Extended features.</summary>
    public const int EXT_FEATURES = 0x0030;

    /// <summary>Peripheral page request log base address and length.</summary>
    public const int PPR_LOG_BASE = 0x0038;

    /// <summary>MSI address, low half.</summary>
    public const int MSI_ADDR_LO = 0x015c;

    /// <summary>MSI address, high half.</summary>
    public const int MSI_ADDR_HI = 0x0160;

    /// <summary>MSI data.</summary>
    public const int MSI_DATA = 0x0164;

    /// <summary>Command buffer head.</summary>
    public const int CMD_HEAD = 0x2000;

    /// <summary>Command buffer tail.</summary>
    public const int CMD_TAIL = 0x2008;

    /// <summary>Event log head.</summary>
    public const int EVT_HEAD = 0x2010;

    /// <summary>Event log tail.</summary>
    public const int EVT_TAIL = 0x2018;

    /// <summary>Status.</summary>
    public const int STATUS = 0x2020;

    /// <summary>Peripheral page request log head.</summary>
    public const int PPR_HEAD = 0x2030;

    /// <summary>Peripheral page request log tail.</summary>
    public const int PPR_TAIL = 0x2038;
}
