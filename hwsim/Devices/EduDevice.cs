using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Devices;

/// <summary>
/// The educational device 1234:11e8, register for register as QEMU documents it (docs/specs/edu): a factorial engine, an interrupt, and a DMA engine
/// with a 4 KiB buffer. One driver runs on this model, on QEMU and under a real kernel.
/// </summary>
/// <remarks>
/// Work is finished when the register write that starts it returns; no timer and no thread is involved. To a driver it looks asynchronous all the
/// same: without an interrupt asked for, the busy bit is still set at the first read after the start. Does not model: QEMU's 100 ms delay; a DMA that
/// leaves the buffer ends QEMU, here it moves nothing and is noted in <see cref="Notes"/>.
/// </remarks>
public sealed unsafe class EduDevice : PciDevice
{
    /// <summary>Offset of the DMA buffer in the device's own address space.</summary>
    public const ulong BufferAddress = 0x40000;

    /// <summary>Bytes of the DMA buffer.</summary>
    public const int BufferSize = 4096;

    private const uint Computing = 1, InterruptOnFactorial = 0x80;
    private const uint FactorialInterrupt = 1, DmaInterrupt = 0x100;
    private const ulong Run = 1, ToMemory = 2, InterruptOnDma = 4;

    private readonly byte[] _buffer = new byte[BufferSize];
    private readonly ulong _dmaMask;
    private uint _liveness;
    private uint _factorial;
    private uint _status;
    private uint _interruptStatus;
    private ulong _source;
    private ulong _destination;
    private ulong _count;
    private ulong _command;

    /// <summary>The device after power-on.</summary>
    /// <param name="dmaMask">Addresses that its DMA engine can form; 28 bits by default, as in QEMU.</param>
    public EduDevice(ulong dmaMask = (1UL << 28) - 1)
        : base(new PciIdentity(0x1234, 0x11e8, 0x00ff00, 0x10, 0x1af4, 0x1100), 256)
    {
        _dmaMask = dmaMask;
        AddBar(new PciBar(0, 1 << 20));
        AddInterruptPin(1);
        AddMsi(1, maskable: false);
    }

    /// <summary>What software did that the device cannot do, the latest last; at most 16 are kept.</summary>
    public List<string> Notes { get; } = [];

    /// <summary>How the last DMA ended; the device itself shows no error, as QEMU's.</summary>
    public DmaStatus LastDma { get; private set; }

    /// <inheritdoc/>
    protected override ulong OnReadBar(int bar, ulong offset, int bytes)
    {
        if (!IsAllowed(offset, bytes))
            return ulong.MaxValue;
        switch (offset)
        {
            case 0x00:
                return 0x010000ed;
            case 0x04:
                return _liveness;
            case 0x08:
                return _factorial;
            case 0x20:
                var status = _status;
                _status &= ~Computing;
                return status;
            case 0x24:
                return _interruptStatus;
            case 0x80:
                return _source;
            case 0x88:
                return _destination;
            case 0x90:
                return _count;
            case 0x98:
                var command = _command;
                _command &= ~Run;
                return command;
            default:
                return ulong.MaxValue;
        }
    }

    /// <inheritdoc/>
    protected override void OnWriteBar(int bar, ulong offset, int bytes, ulong value)
    {
        if (!IsAllowed(offset, bytes))
            return;
        // The DMA registers cannot be changed while a DMA runs; here it has run by the time that software writes again.
        if (offset >= 0x80)
            _command &= ~Run;
        switch (offset)
        {
            case 0x04:
                _liveness = ~(uint)value;
                break;
            case 0x08:
                Factorial((uint)value);
                break;
            case 0x20:
                _status = (_status & ~InterruptOnFactorial) | ((uint)value & InterruptOnFactorial);
                break;
            case 0x60:
                Raise((uint)value);
                break;
            case 0x64:
                _interruptStatus &= ~(uint)value;
                if (_interruptStatus == 0)
                    LowerInterrupt();
                break;
            case 0x80:
                _source = value;
                break;
            case 0x88:
                _destination = value;
                break;
            case 0x90:
                _count = value;
                break;
            case 0x98 when (value & Run) != 0:
                _command = value;
                Dma();
                break;
            default:
                break;
        }
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _liveness = _factorial = _status = _interruptStatus = 0;
        _source = _destination = _count = _command = 0;
        LastDma = DmaStatus.Success;
        Array.Clear(_buffer);
    }

    // Below 0x80 accesses have 4 bytes, from 0x80 on 4 or 8.
    private static bool IsAllowed(ulong offset, int bytes) => bytes == 4 || (bytes == 8 && offset >= 0x80);

    private void Factorial(uint value)
    {
        uint result = 1;
        for (; value > 0; value--)
        {
            result *= value;
            // 34! and above are 0 modulo 2^32.
            if (result == 0)
                break;
        }

        _factorial = result;
        if ((_status & InterruptOnFactorial) != 0)
            Raise(FactorialInterrupt);
        else
            _status |= Computing;
    }

    private void Raise(uint value)
    {
        _interruptStatus |= value;
        if (_interruptStatus != 0)
            RaiseInterrupt();
    }

    // SAFETY: the range in the buffer is checked before the pointer is formed.
    private void Dma()
    {
        var toMemory = (_command & ToMemory) != 0;
        var inside = (toMemory ? _source : _destination) - BufferAddress;
        var iova = toMemory ? _destination : _source;
        if (inside > BufferSize || _count > BufferSize - inside)
        {
            Note($"DMA of {_count} bytes at 0x{inside + BufferAddress:x} leaves the buffer"
                + $" 0x{BufferAddress:x}..0x{BufferAddress + BufferSize - 1:x}");
            LastDma = DmaStatus.NoMemory;
        }
        else
        {
            if ((iova & ~_dmaMask) != 0)
                Note($"DMA address 0x{iova:x} is cut to 0x{iova & _dmaMask:x} by the DMA mask");
            fixed (byte* buffer = _buffer)
            {
                LastDma = toMemory
                    ? DmaWrite(iova & _dmaMask, buffer + inside, _count)
                    : DmaRead(iova & _dmaMask, buffer + inside, _count);
            }
        }

        if ((_command & InterruptOnDma) == 0)
            return;
        _command &= ~Run;
        Raise(DmaInterrupt);
    }

    private void Note(string note)
    {
        if (Notes.Count < 16)
            Notes.Add(note);
    }
}
