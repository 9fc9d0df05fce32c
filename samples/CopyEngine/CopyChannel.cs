using System.Runtime.InteropServices;
using IommuFd;

namespace CopyEngine;

/// <summary>
/// A channel of the engine: a ring of descriptors that the engine follows, and a word of memory where it writes how far it is. For one thread at a
/// time.
/// </summary>
public sealed class CopyChannel
{
    /// <summary>Descriptors of the ring: a page.</summary>
    public const int Entries = 64;

    /// <summary>Bytes of memory that a channel needs.</summary>
    internal const int MemorySize = 2 * 4096;

    private const ulong Control = 0x00, Command = 0x04, Count = 0x06, Status = 0x08, ChainAddress = 0x10, CompletionAddress = 0x18, Error = 0x28;
    private const byte ResetChannel = 0x20;
    private const ushort Rearm = 1, AbortOnError = 8;
    private const uint InterruptOnCompletion = 1, CompletionWrite = 8, Fill = 1u << 24;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    private readonly Bar _bar;
    private readonly Mapping _memory;
    private readonly Interrupt _interrupt;
    private readonly ulong _base;
    private readonly uint _largest;
    private uint _submitted;

    internal CopyChannel(Bar bar, Mapping memory, Interrupt interrupt, int number, uint largest)
    {
        (_bar, _memory, _interrupt, _largest, Number) = (bar, memory, interrupt, largest, number);
        _base = 0x80 * ((ulong)number + 1);
        Reset();
    }

    /// <summary>Its number, from 0.</summary>
    public int Number { get; }

    /// <summary>Copies memory, asking until it is done.</summary>
    /// <param name="source">Address in the device's address space.</param>
    /// <param name="destination">Address in the device's address space.</param>
    /// <param name="length">Bytes; what is too long for one descriptor becomes several.</param>
    /// <exception cref="CopyEngineException">The engine could not read or write; the channel has been reset.</exception>
    /// <exception cref="IOException">The engine is gone.</exception>
    public void Copy(ulong source, ulong destination, ulong length) => Run(source, destination, length, 0, interrupt: false);

    /// <summary>Fills memory with a pattern of 8 bytes.</summary>
    /// <inheritdoc cref="Copy"/>
    public void FillWith(ulong pattern, ulong destination, ulong length) => Run(pattern, destination, length, Fill, interrupt: false);

    /// <summary>As <see cref="Copy"/>, waiting for the channel's interrupt.</summary>
    /// <inheritdoc cref="Copy"/>
    public async ValueTask CopyAsync(ulong source, ulong destination, ulong length, CancellationToken cancellation = default)
    {
        while (length > 0)
        {
            uint last = SubmitSome(ref source, ref destination, ref length, 0, interrupt: true);
            while (!IsDone(last))
                _ = await _interrupt.WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    private void Run(ulong source, ulong destination, ulong length, uint operation, bool interrupt)
    {
        while (length > 0)
        {
            uint last = SubmitSome(ref source, ref destination, ref length, operation, interrupt);
            long start = Environment.TickCount64;
            for (SpinWait spin = default; !IsDone(last); spin.SpinOnce())
            {
                if (Environment.TickCount64 - start > Limit.TotalMilliseconds)
                    throw new TimeoutException(
                        $"Channel {Number} is not done after {Limit.TotalSeconds:0} s: CHANSTS is 0x{_bar.Read64(_base + Status):x}.");
            }
        }
    }

    // Fills the ring, the engine idle, and announces it: the count is that of all descriptors since the reset, modulo 65536.
    private uint SubmitSome(ref ulong source, ref ulong destination, ref ulong length, uint operation, bool interrupt)
    {
        for (int i = 0; i < Entries - 1 && length > 0; i++)
        {
            uint size = (uint)Math.Min(length, _largest);
            length -= size;
            bool isLast = length == 0 || i == Entries - 2;
            ref Descriptor descriptor = ref _memory.Buffer.At<Descriptor>(_submitted % Entries * 64);
            descriptor.Size = size;
            descriptor.Control = operation | (isLast ? CompletionWrite : 0) | (isLast && interrupt ? InterruptOnCompletion : 0);
            (descriptor.Source, descriptor.Destination) = (source, destination);
            destination += size;
            if (operation != Fill)
                source += size;
            _submitted++;
        }

        if (interrupt)
            _bar.Write16(_base + Control, Rearm | AbortOnError);
        Interlocked.MemoryBarrier(); // the descriptors are in memory before the engine is told of them
        _bar.Write16(_base + Count, (ushort)_submitted);
        return _submitted - 1;
    }

    // The engine writes the address of the descriptor that it completed, with its status in the lower bits.
    private bool IsDone(uint last)
    {
        ulong status = Volatile.Read(ref _memory.Buffer.At<ulong>(4096));
        if ((status & ~63UL) == _memory.Iova + (last % Entries * 64) && (status & 7) == 1)
            return true;
        uint now = _bar.Read32(_base + Status);
        if (now == uint.MaxValue)
            throw new IOException($"Channel {Number}: the engine is gone, its registers read as ones.");
        if ((now & 7) != 3)
            return false;
        uint error = _bar.Read32(_base + Error);
        Reset();
        throw new CopyEngineException(Number, error);
    }

    private void Reset()
    {
        _bar.Write8(_base + Command, ResetChannel);
        for (long end = Environment.TickCount64 + 1000; (_bar.Read8(_base + Command) & ResetChannel) != 0; Thread.Sleep(1))
        {
            if (Environment.TickCount64 > end)
                throw new TimeoutException($"Channel {Number} does not come out of its reset.");
        }

        _bar.Write32(_base + Error, _bar.Read32(_base + Error));
        for (uint i = 0; i < Entries; i++)
            _memory.Buffer.At<Descriptor>(i * 64) = new Descriptor { Next = _memory.Iova + ((i + 1) % Entries * 64) };
        _memory.Buffer.At<ulong>(4096) = 0;
        _submitted = 0;
        _bar.Write16(_base + Control, Rearm | AbortOnError);
        _bar.Write64(_base + CompletionAddress, _memory.Iova + 4096);
        _bar.Write64(_base + ChainAddress, _memory.Iova);
    }

    [StructLayout(LayoutKind.Sequential, Size = 64)]
    private struct Descriptor
    {
        public uint Size, Control;
        public ulong Source, Destination, Next;
    }
}
