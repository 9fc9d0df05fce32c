using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

internal sealed unsafe partial class VfioPciConfig
{
    // Lengths of the capabilities; 0 takes one out of the chain, -1 is told by the capability itself.
    private static readonly sbyte[] s_lengths = [0, 8, 16, 8, 0, -1, 0, -1, -1, -1, 0, 0, 0, 0, 0, 0, -1, 12, -1, 6, 0];

    // vfio_cap_init.
    private void InitCapabilities()
    {
        if ((_function.Read(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST) == 0)
        {
            return;
        }

        int previous = PCI_CAPABILITY_LIST, found = 0;
        int at = (int)_function.Read(PCI_CAPABILITY_LIST, 1);
        for (int loops = (PCI_CFG_SPACE_SIZE - PCI_STD_HEADER_SIZEOF) / 4; at != 0 && loops > 0; loops--)
        {
            byte id = (byte)_function.Read(at, 1);
            byte next = (byte)_function.Read(at + 1, 1);
            int length = id is 0 or > PCI_CAP_ID_MAX ? 0 : s_lengths[id] >= 0 ? s_lengths[id] : VariableLength(id, at);
            if (length == 0)
            {
                _virtual[previous] = next;
                at = next;
                continue;
            }

            length = Math.Min(length, PCI_CFG_SPACE_SIZE - at);
            _map.AsSpan(at, length).Fill(id);
            Fill(at, length);
            if (id == PCI_CAP_ID_PM)
            {
                Set16(at + PCI_PM_PMC, Word16(at + PCI_PM_PMC) & ~0xf800u);
                Set16(at + PCI_PM_CTRL, Word16(at + PCI_PM_CTRL) & ~0x8100u);
            }

            previous = at + 1;
            at = next;
            found++;
        }

        if (found == 0)
        {
            Set16(PCI_STATUS, Word16(PCI_STATUS) & ~(uint)PCI_STATUS_CAP_LIST);
        }
    }

    // vfio_cap_len.
    private int VariableLength(byte id, int at)
    {
        switch (id)
        {
            case PCI_CAP_ID_MSI:
                uint flags = _function.Read(at + PCI_MSI_FLAGS, 2);
                int length = 10 + ((flags & PCI_MSI_FLAGS_64BIT) != 0 ? 4 : 0) + ((flags & PCI_MSI_FLAGS_MASKBIT) != 0 ? 10 : 0);
                _msi ??= VfioConfigPermissions.OfMsi(flags, length);
                return length;
            case PCI_CAP_ID_PCIX:
                return (_function.Read(at + 2, 2) & 0x3000) != 0 ? 24 : 8;
            case PCI_CAP_ID_VNDR:
                return (int)_function.Read(at + 2, 1);
            case PCI_CAP_ID_EXP:
                bool rootComplex = _function.ExpressType == PCI_EXP_TYPE_RC_END;
                return (_function.Read(at + PCI_EXP_FLAGS, 2) & 0xf) == 1 ? rootComplex ? 0xc : 20 : rootComplex ? 0x2c : 0x34;
            case PCI_CAP_ID_HT:
                return (_function.Read(at + 3, 1) & 0xe0) != 0 ? 24 : 28;
            case PCI_CAP_ID_SATA:
                return (_function.Read(at + 4, 1) & 0xf) == 0xf ? 16 : 8;
            default:
                return 0;
        }
    }

    // vfio_ecap_init.
    private void InitExtendedCapabilities()
    {
        int at = PCI_CFG_SPACE_SIZE, previous = 0, found = 0;
        for (int loops = (_map.Length - PCI_CFG_SPACE_SIZE) / 4; at >= PCI_CFG_SPACE_SIZE && loops > 0; loops--)
        {
            uint header = _function.Read(at, 4);
            ushort id = (ushort)header;
            int next = (int)(header >> 20) & 0xffc;
            int length = id <= PCI_EXT_CAP_ID_MAX ? ExtendedLength(id, at) : 0;
            bool hidden = length == 0;
            if (hidden)
            {
                if (previous != 0)
                {
                    Set32(previous, (Word32(previous) & ~(0xffcu << 20)) | ((uint)next << 20));
                    at = next;
                    continue;
                }

                // The first one cannot be skipped: it stays as an empty link.
                length = 4;
            }

            length = Math.Min(length, _map.Length - at);
            _map.AsSpan(at, length).Fill((byte)id);
            Fill(at, length);
            if (hidden)
            {
                Set32(at, Word32(at) & (0xffcu << 20));
            }
            else
            {
                found++;
            }

            previous = at;
            at = next;
        }

        if (found == 0)
        {
            Set32(PCI_CFG_SPACE_SIZE, 0);
        }
    }

    private int ExtendedLength(ushort id, int at) => id switch
    {
        PCI_EXT_CAP_ID_ERR => 0x2c,
        2 or 8 or 9 => VirtualChannelLength(at),
        3 => 12,
        4 => 16,
        0xb => (int)(_function.Read(at + 4, 4) >> 20),
        PCI_EXT_CAP_ID_ACS => AcsLength(at),
        0xe => 8,
        PCI_EXT_CAP_ID_ATS => 8,
        PCI_EXT_CAP_ID_SRIOV => 64,
        0x12 => 40,
        PCI_EXT_CAP_ID_PRI => 16,
        0x15 => 4 + ((int)(_function.Read(at + 8, 1) >> 5) * 8),
        0x16 => 16 + (int)(_function.Read(at + 4, 1) & 0x1f) + 1,
        0x17 => (_function.Read(at + 4, 4) & 0x600) == 0x200 ? 12 + ((int)((_function.Read(at + 4, 4) >> 16) & 0x7ff) * 2) + 2 : 12,
        0x18 => 8,
        0x23 => (int)(_function.Read(at + 4, 4) >> 20),
        _ => 0,
    };

    private int AcsLength(int at)
    {
        if ((_function.Read(at + 4, 1) & 0x20) == 0)
        {
            return 8;
        }

        uint bits = _function.Read(at + 5, 1);
        return 8 + (int)((bits == 0 ? 256 : (bits + 31) & ~31u) / 8);
    }

    private int VirtualChannelLength(int at)
    {
        uint channels = _function.Read(at + 4, 4) & 7, arbitration = _function.Read(at + 8, 4);
        int phases = (arbitration & 8) != 0 ? 128 : (arbitration & 4) != 0 ? 64 : (arbitration & 2) != 0 ? 32 : 0;
        int length = 16 + ((1 + (int)channels) * 12);
        return phases == 0 ? length : ((length + 15) & ~15) + (phases * 4 / 8);
    }
}
