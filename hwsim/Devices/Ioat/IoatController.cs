using static IommuFd.HwSim.Devices.Ioat.IoatRegister;

namespace IommuFd.HwSim.Devices.Ioat;

/// <summary>
/// Intel's copy engine (QuickData Technology 3.3, known as I/OAT; 8086:2021): four channels that follow chains of descriptors, copy and fill memory,
/// write their completion to memory and interrupt by MSI-X.
/// </summary>
/// <remarks>
/// Descriptors are executed when the write of DMACOUNT that announces them is made. Does not model: XOR, P+Q, CRC and DIF operations, DCA, page
/// breaks, interrupt delay, priorities, bandwidth, INTx and MSI, the error registers in the configuration space, mapping the BAR into the program;
/// "interrupt disable" in CHANCTRL reads as 0; whoever writes DMACOUNT to a suspended channel starts it at CHAINADDR again, Resume lets it go on from
/// where it was.
/// </remarks>
public sealed unsafe partial class IoatController : PciDevice
{
    /// <summary>Channels.</summary>
    public const int Channels = 4;

    /// <summary>Largest transfer of a descriptor as a power of two: 1 MiB.</summary>
    private const int TransferLg2 = 20;

    private const int Size = 0x4000, Piece = 1 << 16;
    private readonly uint[] _registers = new uint[Size / 4];
    private readonly byte[] _buffer = GC.AllocateArray<byte>(Piece, pinned: true);
    private readonly Channel[] _channels = [.. Enumerable.Range(0, Channels).Select(static i => new Channel(i))];

    /// <summary>The engine after power-on.</summary>
    public IoatController()
        : base(new PciIdentity(0x8086, 0x2021, 0x088000, 4, 0x8086, 0), 4096)
    {
        AddBar(new PciBar(0, Size, Is64Bit: true));
        AddBar(new PciBar(2, 0x1000));
        AddMsix(Channels, 2, 0);
        int power = Config.AddCapability(1, 8);
        Config.Set16(power + 2, 3);
        Config.Set16(power + 4, 8);
        Config.Writable(power + 4, 2, 0x8103);
        int express = Config.AddCapability(0x10, 0x3c);
        Config.Set16(express + 2, 0x92); // an endpoint in the root complex
        Config.Set32(express + 4, 0x1000_8020);
        Config.Writable(express + 8, 2, 0x7eff);
        Config.Writable(express + 0x28, 2, 0x3f);
        OnReset();
    }

    /// <inheritdoc/>
    protected override ulong OnReadBar(int bar, ulong offset, int bytes)
    {
        if (bar != 0 || offset % (ulong)bytes != 0)
            return 0;
        ulong value = Word((int)offset & ~3) >> (8 * (int)(offset % 4));
        return bytes == 8 ? value | ((ulong)Word((int)offset + 4) << 32) : value;
    }

    /// <inheritdoc/>
    protected override void OnWriteBar(int bar, ulong offset, int bytes, ulong value)
    {
        if (bar != 0 || offset % (ulong)bytes != 0)
            return;
        int at = (int)offset & ~3, shift = 8 * (int)(offset % 4);
        uint mask = bytes >= 4 ? ~0u : ((1u << (8 * bytes)) - 1) << shift;
        Write(at, (_registers[at / 4] & ~mask) | ((uint)value << shift), mask);
        if (bytes == 8)
            Write(at + 4, (uint)(value >> 32), ~0u);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        Array.Clear(_registers);
        _registers[0] = Channels | TransferLg2 << 8;
        _registers[CBVER / 4] = 0x33;
        _registers[DMACAPABILITY / 4] = 0x40; // fill
        foreach (Channel channel in _channels)
            ResetChannel(channel);
    }

    private uint Word(int offset)
    {
        uint value = _registers[offset / 4];
        if (offset == ATTNSTATUS)
            _registers[ATTNSTATUS / 4] = 0; // reading it is taking notice
        return value;
    }

    // A word with the bits of it that were written.
    private void Write(int offset, uint value, uint written)
    {
        if (offset == 0)
        {
            // INTRCTRL is the only one of the four bytes that can be written.
            _registers[0] = (_registers[0] & 0x00ff_ffff) | (value & (MasterInterruptEnable | MsixVectorControl) << 24);
            return;
        }

        int index = (offset / ChannelSize) - 1;
        if (index < 0 || index >= Channels)
            return;
        Channel channel = _channels[index];
        ref uint register = ref _registers[offset / 4];
        switch (offset % ChannelSize)
        {
            case CHANCTRL:
                channel.IsArmed |= (value & written & InterruptRearm) != 0;
                register = value & 0xffff & ~(uint)InterruptRearm;
                break;
            case CHANCMD:
                if ((written & 0xff) != 0)
                    Command(channel, (byte)value);
                if ((written & 0xffff_0000) != 0)
                    Announce(channel, (ushort)(value >> 16));
                break;
            case CHAINADDR:
            case CHAINADDR + 4:
                register = value;
                Restart(channel);
                break;
            case CHANCMP:
            case CHANCMP + 4:
            case CHANERRMSK:
                register = value;
                break;
            case CHANERR:
                register &= ~(value & written);
                break;
            default:
                break;
        }
    }

    private void Command(Channel channel, byte command)
    {
        if ((command & IoatRegister.Reset) != 0)
        {
            ResetChannel(channel);
        }
        else if ((command & Suspend) != 0 && channel.Status != IoatStatus.Halted)
        {
            SetStatus(channel, IoatStatus.Suspended);
            channel.Executed = 0;
            SetCount(channel, 0);
        }
        else if ((command & Resume) != 0 && channel.Status == IoatStatus.Suspended)
        {
            SetStatus(channel, IoatStatus.Done);
        }
    }

    private void ResetChannel(Channel channel)
    {
        Array.Clear(_registers, channel.Base / 4, ChannelSize / 4);
        (channel.Next, channel.Executed, channel.Completed, channel.IsArmed) = (0, 0, 0, true);
        SetStatus(channel, IoatStatus.Halted);
    }

    private void Restart(Channel channel)
    {
        (channel.Next, channel.Executed) = (Register64(channel, CHAINADDR), 0);
        SetCount(channel, 0);
    }

    private void SetCount(Channel channel, ushort count) => _registers[(channel.Base + CHANCMD) / 4] = (uint)count << 16;

    private void SetStatus(Channel channel, IoatStatus status)
    {
        channel.Status = status;
        ulong value = channel.Completed | (uint)status;
        _registers[(channel.Base + CHANSTS) / 4] = (uint)value;
        _registers[((channel.Base + CHANSTS) / 4) + 1] = (uint)(value >> 32);
    }

    private ulong Register64(Channel channel, int offset) =>
        _registers[(channel.Base + offset) / 4] | ((ulong)_registers[((channel.Base + offset) / 4) + 1] << 32);

    private sealed class Channel(int index)
    {
        public readonly int Index = index, Base = (index + 1) * ChannelSize;
        public ulong Next, Completed;
        public ushort Executed;
        public bool IsArmed;
        public IoatStatus Status;
    }
}
