using System.Net.NetworkInformation;
using IommuFd;
using IommuFd.Sysfs;
using static IgbDriver.IgbRegisters;

namespace IgbDriver;

/// <summary>
/// What the physical and the virtual functions of the 82576 have in common: one queue of each direction, frames of 14 to 1514 bytes, by polling or by
/// MSI-X. Not for use by several threads, but one may send while another one receives.
/// </summary>
public abstract class IgbPort : IDisposable
{
    /// <summary>Bytes of the largest frame, without its FCS.</summary>
    public const int LargestFrame = 1514;

    private protected const uint ReceiveVector = 1, OtherVector = 2;
    private readonly Stack<IDisposable> _owned = new();
    private readonly IgbRing _receive, _transmit;
    private readonly Interrupt _interrupt;
    private uint _oldest;

    private protected IgbPort(IommuHost host, PciAddress address)
    {
        ArgumentNullException.ThrowIfNull(host);
        try
        {
            IommuContext context = Own(host.OpenContext());
            BoundDevice device = Own(host.OpenDevice(address).Bind(context, cookie: address.RequesterId));
            IoAddressSpace space = Own(context.CreateAddressSpace());
            _ = Own(device.Attach(space));
            Mapping Memory(ulong length) => Own(space.Map(Own(host.AllocateBuffer(length)), DmaAccess.ReadWrite));
            Mapping receive = Memory(IgbRing.MemorySize), transmit = Memory(IgbRing.MemorySize);
            Own(device.OpenConfigSpace()).EnableBusMaster();
            Registers = Own(device.OpenBar(0));
            _interrupt = Own(device.EnableInterrupts(InterruptKind.Msix, 2))[0];
            _receive = new IgbRing(Registers, receive, ReceiveQueue);
            _transmit = new IgbRing(Registers, transmit, TransmitQueue);
        }
        catch
        {
            Release();
            throw;
        }
    }

    /// <summary>The station's address.</summary>
    public PhysicalAddress Mac { get; private protected set; } = PhysicalAddress.None;

    /// <summary>True when registers are accessed as memory, not by pread and pwrite.</summary>
    public bool HasMappedRegisters => Registers.IsMapped;

    /// <summary>True while there is a link.</summary>
    public bool IsLinkUp => (Registers.Read32(Status) & LinkUp) != 0;

    private protected Bar Registers { get; }

    /// <summary>Sends a frame; waits while the ring is full.</summary>
    /// <param name="frame">Destination, source, type and payload: 14 to 1514 bytes. The device pads it and appends the FCS.</param>
    public void Send(ReadOnlySpan<byte> frame)
    {
        if (frame.Length is < 14 or > LargestFrame)
            throw new ArgumentOutOfRangeException(nameof(frame), frame.Length, $"A frame has 14 to {LargestFrame} bytes.");
        uint index = _transmit.Next, next = (index + 1) % IgbRing.Entries;
        if (next == _oldest)
            Await("transmission", () => (_transmit.Read(_oldest) >> 32 & 1) != 0);
        while (_oldest != index && (_transmit.Read(_oldest) >> 32 & 1) != 0)
            _oldest = (_oldest + 1) % IgbRing.Entries;
        frame.CopyTo(_transmit.Buffer(index));

        // An advanced data descriptor: the whole frame, FCS wanted, done bit wanted (section 7.2.2.3).
        const uint command = 3u << 20 | 1u << 29 | 1u << 27 | 1u << 25 | 1u << 24;
        _transmit.Write(index, _transmit.Address(index), command | (uint)frame.Length | (ulong)frame.Length << 46);
        _transmit.Give(_transmit.Next = next);
    }

    /// <summary>Takes a frame if there is one.</summary>
    /// <param name="frame">Room for 1514 bytes; what does not fit is lost.</param>
    /// <returns>The frame's bytes; 0 when there is none.</returns>
    public int TryReceive(Span<byte> frame)
    {
        uint index = _receive.Next;
        ulong done = _receive.Read(index);
        if ((done & 1) == 0)
            return 0;
        int length = Math.Min((int)(done >> 32 & 0xffff), frame.Length);
        _receive.Buffer(index)[..length].CopyTo(frame);
        _receive.Write(index, _receive.Address(index), 0);
        _receive.Give(index);
        _receive.Next = (index + 1) % IgbRing.Entries;
        return length;
    }

    /// <summary>Takes the next frame; waits for it by interrupt.</summary>
    /// <param name="frame">Room for 1514 bytes; what does not fit is lost.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <returns>The frame's bytes.</returns>
    public async ValueTask<int> ReceiveAsync(Memory<byte> frame, CancellationToken cancellation = default)
    {
        while (true)
        {
            // A frame that came after the look and before the unmasking has its cause set, and the message follows.
            if (TryReceive(frame.Span) is int length and > 0)
                return length;
            Registers.Write32(VectorMaskSet, ReceiveVector);
            _ = await _interrupt.WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // The device stops before the memory of its rings goes.
        try
        {
            Registers.Write32(VectorMaskClear, ~0u);
            Stop();
        }
        finally
        {
            Release();
            GC.SuppressFinalize(this);
        }
    }

    /// <summary>The function does no more DMA.</summary>
    private protected abstract void Stop();

    /// <summary>Enables the queues, and gives all receive buffers but one to the device.</summary>
    /// <param name="start">Switches receiver and transmitter on, which the queues' enable bits wait for.</param>
    private protected void StartQueues(Action start)
    {
        for (uint i = 0; i < IgbRing.Entries; i++)
            _receive.Write(i, _receive.Address(i), 0);
        _receive.Start();
        _transmit.Start();
        start();
        Await("the queues", () => _receive.IsEnabled && _transmit.IsEnabled);
        _receive.Give(IgbRing.Entries - 1);

        // Vector 0 for reception, vector 1 for the rest; a message masks its vector until the driver wants the next one.
        Registers.Write32(VectorAutoClear, ReceiveVector | OtherVector);
        Registers.Write32(VectorAutoMask, ReceiveVector | OtherVector);
        Registers.Write32(Ivar, Valid);
    }

    private protected static void Await(string what, Func<bool> done)
    {
        long end = Environment.TickCount64 + 10_000;
        while (!done())
        {
            if (Environment.TickCount64 > end)
                throw new TimeoutException($"The controller did not finish {what} in 10 s.");
            Thread.Sleep(1);
        }
    }

    private protected static PhysicalAddress MacOf(uint low, uint high) =>
        new([(byte)low, (byte)(low >> 8), (byte)(low >> 16), (byte)(low >> 24), (byte)high, (byte)(high >> 8)]);

    private void Release()
    {
        while (_owned.TryPop(out IDisposable? owned))
            owned.Dispose();
    }

    private T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Push(owned);
        return owned;
    }
}
