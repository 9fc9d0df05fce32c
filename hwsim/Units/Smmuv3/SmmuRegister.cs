namespace IommuFd.HwSim.Units;

#pragma warning disable CA1707 // the specification's names have underscores

/// <summary>Offsets of the SMMUv3 registers (SMMU architecture specification, chapter 6), by its names without the prefix SMMU_.</summary>
public static class SmmuRegister
{
    /// <summary>Features.</summary>
    public const int IDR0 = 0x00;

    /// <summary>Sizes of ids and queues.</summary>
    public const int IDR1 = 0x04;

    /// <summary>Features.</summary>
    public const int IDR3 = 0x0c;

    /// <summary>Address sizes and granules.</summary>
    public const int IDR5 = 0x14;

    /// <summary>Architecture version.</summary>
    public const int AIDR = 0x1c;

    /// <summary>Enables: SMMUEN, PRIQEN, EVENTQEN, CMDQEN.</summary>
    public const int CR0 = 0x20;

    /// <summary>Enables that took effect.</summary>
    public const int CR0ACK = 0x24;

    /// <summary>Attributes of queue and table accesses.</summary>
    public const int CR1 = 0x28;

    /// <summary>Further controls.</summary>
    public const int CR2 = 0x2c;

    /// <summary>What happens to DMA while SMMUEN is clear.</summary>
    public const int GBPA = 0x44;

    /// <summary>Interrupt enables.</summary>
    public const int IRQ_CTRL = 0x50;

    /// <summary>Interrupt enables that took effect.</summary>
    public const int IRQ_CTRLACK = 0x54;

    /// <summary>Global errors, toggled.</summary>
    public const int GERROR = 0x60;

    /// <summary>Global errors acknowledged.</summary>
    public const int GERRORN = 0x64;

    /// <summary>Global error message: address.</summary>
    public const int GERROR_IRQ_CFG0 = 0x68;

    /// <summary>Global error message: data.</summary>
    public const int GERROR_IRQ_CFG1 = 0x70;

    /// <summary>Stream table base.</summary>
    public const int STRTAB_BASE = 0x80;

    /// <summary>Stream table format and size.</summary>
    public const int STRTAB_BASE_CFG = 0x88;

    /// <summary>Command queue base and size.</summary>
    public const int CMDQ_BASE = 0x90;

    /// <summary>Command queue producer index.</summary>
    public const int CMDQ_PROD = 0x98;

    /// <summary>Command queue consumer index and error.</summary>
    public const int CMDQ_CONS = 0x9c;

    /// <summary>Event queue base and size.</summary>
    public const int EVENTQ_BASE = 0xa0;

    /// <summary>Event message: address.</summary>
    public const int EVENTQ_IRQ_CFG0 = 0xb0;

    /// <summary>Event message: data.</summary>
    public const int EVENTQ_IRQ_CFG1 = 0xb8;

    /// <summary>PRI queue base and size.</summary>
    public const int PRIQ_BASE = 0xc0;

    /// <summary>PRI message: address.</summary>
    public const int PRIQ_IRQ_CFG0 = 0xd0;

    /// <summary>PRI message: data.</summary>
    public const int PRIQ_IRQ_CFG1 = 0xd8;

    /// <summary>Event queue producer index (page 1).</summary>
    public const int EVENTQ_PROD = 0x100a8;

    /// <summary>Event queue consumer index (page 1).</summary>
    public const int EVENTQ_CONS = 0x100ac;

    /// <summary>PRI queue producer index (page 1).</summary>
    public const int PRIQ_PROD = 0x100c8;

    /// <summary>PRI queue consumer index (page 1).</summary>
    public const int PRIQ_CONS = 0x100cc;
}
