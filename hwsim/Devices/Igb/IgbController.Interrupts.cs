using System.Numerics;
using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

// Interrupts: with GPIE.Multiple_MSIX a vector for each cause, else one for all (section 7.3).
public sealed unsafe partial class IgbController
{
    private const uint MultipleMsix = 0x10;
    private uint _rxCauses, _txCauses, _otherCauses;

    private bool WriteInterrupt(uint offset, uint value)
    {
        switch (offset)
        {
            case ICR:
                Store(ICR, Register(ICR) & ~value);
                return true;
            case ICS:
                _otherCauses |= value & ~INT_ASSERTED;
                RaiseCauses();
                return true;
            case IMS:
                Store(IMS, Register(IMS) | value);
                _otherCauses |= Register(ICR) & value & ~INT_ASSERTED;
                RaiseCauses();
                return true;
            case IMC:
                Store(IMS, Register(IMS) & ~value);
                return true;
            case IAM:
                Store(IAM, value);
                return true;
            case GPIE:
                _registers[GPIE / 4] = value;
                _causes.SendsMessages = (value & MultipleMsix) != 0;
                return true;
            default:
                return false;
        }
    }

    // Read to clear, unless an interrupt is unmasked and none is asserted (section 8.8.8).
    private uint ReadInterruptCause()
    {
        uint value = Register(ICR);
        if (Register(IMS) == 0 || (value & INT_ASSERTED) != 0)
            Store(ICR, 0);
        // CTRL_EXT.IAME: IAM masks by itself.
        if ((value & INT_ASSERTED) != 0 && (Register(CTRL_EXT) & 1u << 27) != 0)
            Store(IMS, Register(IMS) & ~Register(IAM));
        UpdateLine();
        return value;
    }

    // What was done since the last time becomes visible: each cause once, however many frames there were.
    private void RaiseCauses()
    {
        uint received = _rxCauses, transmitted = _txCauses, others = _otherCauses;
        _rxCauses = _txCauses = _otherCauses = 0;
        uint vectors = 0;
        for (uint queues = received; queues != 0; queues &= queues - 1)
            vectors |= Vector(BitOperations.TrailingZeroCount(queues), 0);
        for (uint queues = transmitted; queues != 0; queues &= queues - 1)
            vectors |= Vector(BitOperations.TrailingZeroCount(queues), 8);
        if (!_causes.SendsMessages)
            others |= (received != 0 ? RXDW : 0) | (transmitted != 0 ? TXDW : 0);
        if (others != 0)
        {
            Store(ICR, Register(ICR) | others);
            if ((others & Register(IMS)) != 0)
            {
                Store(ICR, Register(ICR) | INT_ASSERTED);
                uint route = Register(IVAR_MISC) >> 8;
                if (_causes.SendsMessages)
                    vectors |= (route & 0x80) != 0 ? 1u << (int)(route & 31) : 0;
                else
                    RaiseInterrupt();
            }
        }

        if (vectors != 0)
            _causes.Set(vectors);
        if (_causes.Pending != 0 && vectors != 0 && !_causes.SendsMessages)
            RaiseInterrupt();
    }

    // IVAR: for queue n and n + 8 a byte for receive and one for transmit each (section 8.8.13). A virtual function has a table of its own.
    private uint Vector(int queue, int shift)
    {
        if (Owner(queue) is { } function)
        {
            function.RaiseQueue(queue / Pools, shift);
            return 0;
        }

        uint route = Register(IVAR + (4 * (uint)(queue % Pools))) >> (shift + (queue < Pools ? 0 : 16));
        return (route & 0x80) != 0 ? 1u << (int)(route & 31) : 0;
    }

    private void UpdateLine()
    {
        if ((Register(ICR) & Register(IMS)) == 0 && (_causes.SendsMessages || _causes.Pending == 0))
        {
            Store(ICR, Register(ICR) & ~INT_ASSERTED);
            LowerInterrupt();
        }
    }
}
