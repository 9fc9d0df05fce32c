using System.Buffers.Binary;

namespace IommuFd.HwSim.Kernel;

/// <summary>A 16550 serial port whose transmitter leads back to its receiver, with the state that migrates.</summary>
internal sealed class SerialPort(Action interrupt)
{
    /// <summary>Bytes of the state in a migration stream.</summary>
    public const int StateSize = 36;

    private const int FifoSize = 16;
    private const int Rx = 0, Ier = 1, Iir = 2, Lcr = 3, Mcr = 4, Lsr = 5, Msr = 6, Scr = 7;
    private const byte IerReceive = 1, IerTransmit = 2, IerLine = 4, IerModem = 8;
    private readonly byte[] _registers = new byte[8];
    private readonly byte[] _fifo = new byte[FifoSize];
    private byte _head, _tail, _count;
    private bool _divisorLatch, _overrun;
    private ushort _divisor;
    private byte _fifoControl, _fifoMaximum = FifoSize, _triggerLevel;

    private bool IsEmpty => _head == _tail;

    /// <summary>Writes a register.</summary>
    public void Write(int offset, byte data)
    {
        switch (offset)
        {
            case Rx when _divisorLatch:
                _divisor |= data;
                break;
            case Rx:
                Transmit(data);
                break;
            case Ier when _divisorLatch:
                _divisor |= (ushort)(data << 8);
                break;
            case Ier:
                _registers[Ier] = data;
                if ((data & IerTransmit) != 0 && IsEmpty)
                {
                    interrupt();
                }

                break;
            case Iir:
                _fifoControl = data;
                if ((data & 6) != 0)
                {
                    _count = _head = _tail = 0;
                }

                _triggerLevel = 1;
                _fifoMaximum = (data & 1) != 0 ? (byte)FifoSize : (byte)1;
                break;
            case Lcr:
                _divisorLatch = (data & 0x80) != 0;
                _divisor = _divisorLatch ? (ushort)0 : _divisor;
                _registers[Lcr] = data;
                break;
            case Mcr:
                _registers[Mcr] = data;
                if ((_registers[Ier] & IerModem) != 0)
                {
                    if ((data & 8) != 0)
                    {
                        interrupt();
                    }

                    if ((data & 3) != 0)
                    {
                        interrupt();
                    }
                }

                break;
            case Scr:
                _registers[Scr] = data;
                break;
            default:
                break;
        }
    }

    /// <summary>Reads a register.</summary>
    public byte Read(int offset)
    {
        switch (offset)
        {
            case Rx when _divisorLatch:
                return (byte)_divisor;
            case Rx:
                return Receive();
            case Ier:
                return _divisorLatch ? (byte)(_divisor >> 8) : (byte)(_registers[Ier] & 0xf);
            case Iir:
                return InterruptIdentification();
            case Lcr or Mcr or Scr:
                return _registers[offset];
            case Lsr:
                return (byte)((IsEmpty ? 0x60 : 1) | (_overrun ? 2 : 0));
            case Msr:
                bool clear = (_registers[Mcr] & 0x20) == 0 || _count < _fifoMaximum;
                return (byte)(0xa2 | (clear ? 0x11 : 0));
            default:
                return 0;
        }
    }

    /// <summary>Writes the state, in the layout of the kernel's sample driver.</summary>
    public void Save(Span<byte> state)
    {
        _registers.CopyTo(state);
        _fifo.CopyTo(state[8..]);
        (state[24], state[25], state[26]) = (_head, _tail, _count);
        (state[27], state[28]) = (_divisorLatch ? (byte)1 : (byte)0, _overrun ? (byte)1 : (byte)0);
        BinaryPrimitives.WriteUInt16LittleEndian(state[30..], _divisor);
        (state[32], state[33], state[34]) = (_fifoControl, _fifoMaximum, _triggerLevel);
    }

    /// <summary>Takes a state over.</summary>
    public void Load(ReadOnlySpan<byte> state)
    {
        state[..8].CopyTo(_registers);
        state[8..24].CopyTo(_fifo);
        (_head, _tail, _count) = ((byte)(state[24] % FifoSize), (byte)(state[25] % FifoSize), state[26]);
        (_divisorLatch, _overrun) = (state[27] != 0, state[28] != 0);
        _divisor = BinaryPrimitives.ReadUInt16LittleEndian(state[30..]);
        (_fifoControl, _fifoMaximum, _triggerLevel) = (state[32], state[33], state[34]);
    }

    private void Transmit(byte data)
    {
        if (_count >= _fifoMaximum)
        {
            _overrun = true;
            if ((_registers[Ier] & IerLine) != 0)
            {
                interrupt();
            }

            return;
        }

        _fifo[_head] = data;
        _count++;
        _head = (byte)((_head + 1) % FifoSize);
        _overrun = false;
        if ((_registers[Ier] & IerReceive) != 0 && _count == _triggerLevel)
        {
            interrupt();
        }
    }

    private byte Receive()
    {
        byte data = 0;
        if (!IsEmpty)
        {
            data = _fifo[_tail];
            _count--;
            _tail = (byte)((_tail + 1) % FifoSize);
        }

        if (IsEmpty && (_registers[Ier] & IerTransmit) != 0)
        {
            interrupt();
        }

        return data;
    }

    private byte InterruptIdentification()
    {
        byte enabled = _registers[Ier], value = 0;
        if ((enabled & IerLine) != 0 && _overrun)
        {
            value |= 6;
        }

        if ((enabled & IerReceive) != 0 && _count >= _triggerLevel)
        {
            value |= 4;
        }

        if ((enabled & IerTransmit) != 0 && IsEmpty)
        {
            value |= 2;
        }

        // A modem status interrupt has no bit: it looks like no interrupt at all.
        return (byte)((value == 0 ? 1 : value) | 0xc0);
    }
}
