namespace IommuFd.HwSim.Units;

#pragma warning disable CA1707 // the specification's names have underscores

/// <summary>Offsets of the RISC-V IOMMU's registers (RISC-V IOMMU Architecture Specification 1.0, chapter 6), by its names.</summary>
public static class RiscvRegister
{
    /// <summary>What the unit offers.</summary>
    public const int capabilities = 0x000;

    /// <summary>Features control: endianness, wired interrupts, guest XLEN.</summary>
    public const int fctl = 0x008;

    /// <summary>Device directory table pointer and mode.</summary>
    public const int ddtp = 0x010;

    /// <summary>Command queue base.</summary>
    public const int cqb = 0x018;

    /// <summary>Command queue head.</summary>
    public const int cqh = 0x020;

    /// <summary>Command queue tail.</summary>
    public const int cqt = 0x024;

    /// <summary>Fault queue base.</summary>
    public const int fqb = 0x028;

    /// <summary>Fault queue head.</summary>
    public const int fqh = 0x030;

    /// <summary>Fault queue tail.</summary>
    public const int fqt = 0x034;

    /// <summary>Page-request queue base.</summary>
    public const int pqb = 0x038;

    /// <summary>Page-request queue head.</summary>
    public const int pqh = 0x040;

    /// <summary>Page-request queue tail.</summary>
    public const int pqt = 0x044;

    /// <summary>Command queue control and status.</summary>
    public const int cqcsr = 0x048;

    /// <summary>Fault queue control and status.</summary>
    public const int fqcsr = 0x04c;

    /// <summary>Page-request queue control and status.</summary>
    public const int pqcsr = 0x050;

    /// <summary>Interrupt pending status.</summary>
    public const int ipsr = 0x054;

    /// <summary>Translation request: IOVA.</summary>
    public const int tr_req_iova = 0x258;

    /// <summary>Translation request: control; writing Go runs it.</summary>
    public const int tr_req_ctl = 0x260;

    /// <summary>Translation response.</summary>
    public const int tr_response = 0x268;

    /// <summary>Interrupt cause to vector.</summary>
    public const int icvec = 0x2f8;

    /// <summary>First of 16 MSI configuration entries of 16 bytes: address, data, vector control.</summary>
    public const int msi_cfg_tbl = 0x300;
}
