using System.Buffers.Binary;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>What a write to a part of the configuration space does besides the bits that it may change.</summary>
internal enum ConfigEffect
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>The header: memory decoding, INTx disable, BAR sizing.</summary>
    Header,

    /// <summary>Power management: the power state changes.</summary>
    Power,

    /// <summary>MSI: vectors and enable bit are held to what the ioctl enabled.</summary>
    Msi,

    /// <summary>PCI Express: function-level reset, maximum read request.</summary>
    Express,

    /// <summary>Advanced features: function-level reset.</summary>
    AdvancedFeatures,
}

/// <summary>
/// Permissions of one capability (struct perm_bits of drivers/vfio/pci/vfio_pci_config.c): for every bit whether the user sees a virtual value and
/// may write it.
/// </summary>
internal sealed class VfioConfigPermissions
{
    private static readonly VfioConfigPermissions s_readOnly = new(0) { IsDirect = true };
    private static readonly VfioConfigPermissions s_raw = new(0) { IsDirect = true, IsRawWrite = true };
    private static readonly VfioConfigPermissions s_header = Header();
    private static readonly VfioConfigPermissions s_power = Power();
    private static readonly VfioConfigPermissions s_vpd = new VfioConfigPermissions(8).Next().Word(2, 0xffff, 0xffff).DWord(4, ~0u, ~0u);
    private static readonly VfioConfigPermissions s_pcix = new VfioConfigPermissions(24).Next().Word(2, 0, 0xffff).DWord(8, 0, ~0u);
    private static readonly VfioConfigPermissions s_express = new VfioConfigPermissions(0x34) { Effect = ConfigEffect.Express }
        .Next()
        .Word(PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR | PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ, unchecked((ushort)~PCI_EXP_DEVCTL_PHANTOM))
        .Word(PCI_EXP_DEVCTL2, 0, unchecked((ushort)~0x20));

    private static readonly VfioConfigPermissions s_advancedFeatures =
        new VfioConfigPermissions(6) { Effect = ConfigEffect.AdvancedFeatures }.Next().Byte(PCI_AF_CTRL, 1, 1);

    private static readonly VfioConfigPermissions s_errors = Errors();
    private static readonly VfioConfigPermissions s_powerBudget = new VfioConfigPermissions(16).DWord(0, ~0u, 0).Byte(4, 0, 0xff);

    private readonly byte[] _virtual;
    private readonly byte[] _writable;

    private VfioConfigPermissions(int size)
    {
        // Rounded up: an access of four bytes may reach beyond the capability.
        _virtual = new byte[(size + 3) & ~3];
        _writable = new byte[_virtual.Length];
    }

    /// <summary>True when reading goes to the hardware but for the capability's link.</summary>
    public bool IsDirect { get; private init; }

    /// <summary>True when writing goes straight to the hardware.</summary>
    public bool IsRawWrite { get; private init; }

    /// <summary>What a write does beyond its bits.</summary>
    public ConfigEffect Effect { get; private init; }

    /// <summary>Bytes between the capabilities: raw, as hardware has registers there.</summary>
    public static VfioConfigPermissions Unassigned { get; } = new(0) { IsDirect = true, IsRawWrite = true };

    /// <summary>Permissions of a capability, or of the header for id 0.</summary>
    public static VfioConfigPermissions OfCapability(byte id) => id switch
    {
        0 => s_header,
        PCI_CAP_ID_PM => s_power,
        PCI_CAP_ID_VPD => s_vpd,
        PCI_CAP_ID_PCIX => s_pcix,
        PCI_CAP_ID_VNDR => s_raw,
        PCI_CAP_ID_EXP => s_express,
        PCI_CAP_ID_AF => s_advancedFeatures,
        _ => s_readOnly,
    };

    /// <summary>Permissions of an extended capability.</summary>
    public static VfioConfigPermissions OfExtended(ushort id) => id switch
    {
        PCI_EXT_CAP_ID_ERR => s_errors,
        4 => s_powerBudget,
        0xb or 0x23 => s_raw,
        _ => s_readOnly,
    };

    /// <summary>Permissions of an MSI capability, whose layout is the device's own.</summary>
    public static VfioConfigPermissions OfMsi(uint flags, int length)
    {
        VfioConfigPermissions p = new VfioConfigPermissions(length) { Effect = ConfigEffect.Msi }.Next().Byte(PCI_MSI_FLAGS, 0xff, 0xff)
            .DWord(PCI_MSI_ADDRESS_LO, ~0u, ~0u);
        bool wide = (flags & PCI_MSI_FLAGS_64BIT) != 0;
        if (wide)
        {
            p.DWord(8, ~0u, ~0u);
        }

        int data = wide ? 12 : 8;
        p.Word(data, 0xffff, 0xffff);
        return (flags & PCI_MSI_FLAGS_MASKBIT) != 0 ? p.DWord(data + 4, 0, ~0u).DWord(data + 8, 0, ~0u) : p;
    }

    /// <summary>Bits that are virtual, of up to 4 bytes.</summary>
    public uint Virtual(int offset, int bytes) => Bits(_virtual, offset, bytes);

    /// <summary>Bits that the user may write, of up to 4 bytes.</summary>
    public uint Writable(int offset, int bytes) => Bits(_writable, offset, bytes);

    private static uint Bits(byte[] table, int offset, int bytes)
    {
        uint value = 0;
        for (int i = 0; i < bytes && offset + i < table.Length; i++)
        {
            value |= (uint)table[offset + i] << (8 * i);
        }

        return value;
    }

    private VfioConfigPermissions Byte(int offset, byte isVirtual, byte writable)
    {
        _virtual[offset] = isVirtual;
        _writable[offset] = writable;
        return this;
    }

    private VfioConfigPermissions Word(int offset, ushort isVirtual, ushort writable)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(_virtual.AsSpan(offset), isVirtual);
        BinaryPrimitives.WriteUInt16LittleEndian(_writable.AsSpan(offset), writable);
        return this;
    }

    private VfioConfigPermissions DWord(int offset, uint isVirtual, uint writable)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_virtual.AsSpan(offset), isVirtual);
        BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(offset), writable);
        return this;
    }

    // The link to the next capability is always virtual: capabilities can be taken out of the chain.
    private VfioConfigPermissions Next() => Byte(1, 0xff, 0);

    private static VfioConfigPermissions Header()
    {
        VfioConfigPermissions p = new VfioConfigPermissions(PCI_STD_HEADER_SIZEOF) { Effect = ConfigEffect.Header }
            .Word(PCI_VENDOR_ID, 0xffff, 0)
            .Word(PCI_DEVICE_ID, 0xffff, 0)
            .Word(PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 0xffff)
            .Word(PCI_STATUS, PCI_STATUS_CAP_LIST, 0)
            .Byte(PCI_CACHE_LINE_SIZE, 0, 0xff)
            .Byte(PCI_LATENCY_TIMER, 0, 0xff)
            .Byte(PCI_BIST, 0, 0xff)
            .DWord(PCI_ROM_ADDRESS, ~0u, ~0u)
            .Byte(PCI_CAPABILITY_LIST, 0xff, 0)
            .Byte(PCI_INTERRUPT_LINE, 0xff, 0xff)
            .Byte(PCI_INTERRUPT_PIN, 0xff, 0);
        for (int bar = PCI_BASE_ADDRESS_0; bar <= PCI_BASE_ADDRESS_5; bar += 4)
        {
            p.DWord(bar, ~0u, ~0u);
        }

        return p;
    }

    private static VfioConfigPermissions Power()
    {
        const ushort pmeMask = 0xf800;
        const uint pme = 0x8100; // PME_Status and PME_En
        return new VfioConfigPermissions(8) { Effect = ConfigEffect.Power }
            .Next()
            .Word(PCI_PM_PMC, pmeMask, 0)
            .DWord(PCI_PM_CTRL, pme, ~(pme | PCI_PM_CTRL_STATE_MASK));
    }

    private static VfioConfigPermissions Errors()
    {
        const uint uncorrectable = 0x03fff031; // every error that the capability defines (PCI Express base 7.8.4)
        const uint correctable = 0x0000f1c1;
        return new VfioConfigPermissions(0x2c)
            .DWord(0, ~0u, 0)
            .DWord(4, 0, uncorrectable).DWord(8, 0, uncorrectable).DWord(0xc, 0, uncorrectable)
            .DWord(0x10, 0, correctable).DWord(0x14, 0, correctable)
            .DWord(0x18, 0, 0x140);
    }
}
