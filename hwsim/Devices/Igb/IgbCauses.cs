using System.Numerics;
using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

/// <summary>
/// The extended interrupt cause registers (82576 sections 7.3.2 and 8.8): a cause for each MSI-X vector. They are at the same offsets in the physical
/// and in a virtual function.
/// </summary>
/// <param name="registers">The function's register file.</param>
/// <param name="valid">The causes that there are.</param>
/// <param name="raise">Sends a vector's message.</param>
internal sealed class IgbCauses(uint[] registers, uint valid, Action<int> raise)
{
    private const uint MaskOnSend = 1u << 30;

    /// <summary>Causes that are set and not masked.</summary>
    public uint Pending => registers[EICR / 4] & registers[EIMS / 4];

    /// <summary>GPIE.EIAME: EIAM masks when a message is sent. Virtual functions always have it.</summary>
    public bool MasksOnSend { get; init; }

    /// <summary>Every cause has a vector of its own (GPIE.Multiple_MSIX); else the owner asks <see cref="Pending"/>.</summary>
    public bool SendsMessages { get; set; }

    /// <summary>Software writes a register.</summary>
    /// <returns>False when it is none of these.</returns>
    public bool Write(uint offset, uint value)
    {
        value &= valid;
        switch (offset)
        {
            case EICS:
                Set(value);
                return true;
            case EIMS:
                registers[EIMS / 4] |= value;
                Send(registers[EICR / 4] & value);
                return true;
            case EIMC:
                registers[EIMS / 4] &= ~value;
                return true;
            case EIAC or EIAM:
                registers[offset / 4] = value;
                return true;
            case EICR:
                registers[EICR / 4] &= ~value;
                return true;
            default:
                return false;
        }
    }

    /// <summary>Software reads EICR: it is cleared, and what EIAM says is masked (section 7.3.4.3).</summary>
    public uint ReadCause()
    {
        var value = registers[EICR / 4];
        registers[EICR / 4] = 0;
        registers[EIMS / 4] &= ~(value & registers[EIAM / 4]);
        return value;
    }

    /// <summary>Causes appear.</summary>
    public void Set(uint causes)
    {
        registers[EICR / 4] |= causes;
        Send(causes & registers[EIMS / 4]);
    }

    private void Send(uint causes)
    {
        if (!SendsMessages || causes == 0)
            return;
        // Cleared and masked first: a driver may be awake before the message is counted as sent.
        registers[EICR / 4] &= ~(causes & registers[EIAC / 4]);
        if (MasksOnSend || (registers[GPIE / 4] & MaskOnSend) != 0)
            registers[EIMS / 4] &= ~(causes & registers[EIAM / 4]);
        for (; causes != 0; causes &= causes - 1)
            raise(BitOperations.TrailingZeroCount(causes));
    }
}
