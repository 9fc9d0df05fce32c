using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

// CTRL, STATUS, the EEPROM and the PHY (sections 8.2, 3.3 and 8.25).
public sealed unsafe partial class IgbController
{
    private const int EepromWords = 256;
    private const uint LinkUp = 2, SetLinkUp = 0x40;
    private const ushort PhyLoopback = 0x4000, PhyPowerDown = 0x0800, PhyRestart = 0x0200, PhyResetBit = 0x8000;
    private readonly ushort[] _eeprom = new ushort[EepromWords];
    private readonly ushort[] _phy = new ushort[32];

    /// <summary>False: the cable is out.</summary>
    public bool HasCable
    {
        get => _hasCable;
        set
        {
            lock (Gate)
            {
                _hasCable = value;
                UpdateLink();
                RaiseCauses();
            }
        }
    }

    private bool _hasCable = true;

    private bool IsLinkUp => (Register(STATUS) & LinkUp) != 0;

    private bool LoopsBack => (Register(RCTL) & 0xc0) == 0x40 || (_phy[0] & PhyLoopback) != 0;

    private bool WriteLink(uint offset, uint value)
    {
        switch (offset)
        {
            case CTRL:
                if ((value & DeviceReset) != 0)
                {
                    ResetRegisters(power: false);
                    return true;
                }

                if ((value & PhyReset) != 0)
                    ResetPhy();
                Store(CTRL, value & ~(DeviceReset | PhyReset));
                UpdateLink();
                RaiseCauses();
                return true;
            case CTRL_EXT:
                _registers[CTRL_EXT / 4] = value & ~(1u << 13); // EE_RST has been done
                return true;
            case EECD:
                // A request for the EEPROM's pins is granted at once.
                _registers[EECD / 4] = (Register(EECD) & 0xff00) | (value & 0x4f) | ((value & 0x40) != 0 ? 0x80u : 0);
                if ((value & 7) != 0)
                    Note("the EEPROM's pins (EECD) are not modelled; EERD reads it");
                return true;
            case EERD:
                if ((value & 1) != 0)
                    value = (value & 0xfffc) | 2 | (uint)_eeprom[(value >> 2) & (EepromWords - 1)] << 16;
                _registers[EERD / 4] = value;
                return true;
            case MDIC:
                AccessPhy(value);
                return true;
            default:
                return false;
        }
    }

    // Words 0 to 2 are the address; the first 64 words add up to 0xbaba (section 6.2).
    private void FillEeprom(byte[] mac)
    {
        Array.Fill(_eeprom, (ushort)0xffff);
        for (int i = 0; i < 3; i++)
            _eeprom[i] = (ushort)(mac[2 * i] | mac[(2 * i) + 1] << 8);
        _eeprom[0x0b] = Identity.Subsystem;
        _eeprom[0x0c] = Identity.SubsystemVendor;
        _eeprom[0x0d] = Identity.Device;
        _eeprom[0x0e] = Identity.Vendor;
        int sum = 0;
        for (int i = 0; i < 0x3f; i++)
            sum += _eeprom[i];
        _eeprom[0x3f] = (ushort)(0xbaba - sum);
    }

    // Gigabit, full duplex, negotiated (IEEE 802.3 clause 22; the PHY's own registers are in section 8.25).
    private void ResetPhy()
    {
        Array.Clear(_phy);
        _phy[0] = 0x1140;
        _phy[1] = 0x7949;
        _phy[2] = 0x02a8;
        _phy[3] = 0x0391;
        _phy[4] = 0x0de1;
        _phy[5] = 0x4de1;
        _phy[6] = 0x000f;
        _phy[9] = 0x0e00;
        _phy[10] = 0x3c00;
        _phy[15] = 0x3000;
        _phy[17] = 0xc200;
    }

    private void AccessPhy(uint command)
    {
        const uint ready = 1u << 28, error = 1u << 30;
        int register = (int)(command >> 16 & 31);
        command &= ~(ready | error);
        if ((command >> 21 & 31) != 1)
        {
            _registers[MDIC / 4] = command | ready | error;
            return;
        }

        switch (command >> 26 & 3)
        {
            case 1 when register is not (1 or 2 or 3 or 5 or 10 or 15 or 17):
                WritePhy(register, (ushort)command);
                break;
            case 2:
                command = (command & 0xffff_0000) | _phy[register];
                break;
            case 1:
                break;
            default:
                command |= error;
                break;
        }

        _registers[MDIC / 4] = command | ready;
        RaiseCauses();
    }

    private void WritePhy(int register, ushort value)
    {
        if (register == 0 && (value & PhyResetBit) != 0)
        {
            ResetPhy();
            value = _phy[0];
        }

        // Negotiation ends at once: the link has been down and is up again.
        if (register == 0 && (value & PhyRestart) != 0)
            _otherCauses |= LSC;
        _phy[register] = register == 0 ? (ushort)(value & ~PhyRestart) : value;
        UpdateLink();
    }

    // The link is up when the PHY has a partner, or itself in loopback, and software wants it (CTRL.SLU).
    private void UpdateLink()
    {
        bool partner = (_phy[0] & PhyPowerDown) == 0 && (HasCable || (_phy[0] & PhyLoopback) != 0 || (Register(RCTL) & 0xc0) == 0x40);
        _phy[1] = (ushort)(partner ? 0x796d : 0x7949);
        bool up = partner && (Register(CTRL) & SetLinkUp) != 0;
        if (up != IsLinkUp)
            _otherCauses |= LSC;
        // Full duplex, 1000 Mb/s, PCI Express master enabled, reset done.
        _registers[STATUS / 4] = (up ? LinkUp : 0) | 1 | 0x80 | 1u << 19 | (Register(CTRL_EXT) & 0x4000) << 7 | VirtualStatus;
    }
}
