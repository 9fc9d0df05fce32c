using System.Net.NetworkInformation;
using IommuFd;
using IommuFd.Sysfs;
using static IgbDriver.IgbRegisters;

namespace IgbDriver;

/// <summary>
/// A driver for Intel's 82576: one queue of each direction, frames of 60 to 1514 bytes, by polling or by MSI-X. It runs unchanged on the simulator, on QEMU's igb and on
/// hardware. Not for use by several threads, but one may send while another one receives.
/// </summary>
public sealed class IgbDevice : IDisposable
{
    /// <summary>Bytes of the largest frame, without its FCS.</summary>
    public const int LargestFrame = 1514;

    private const uint ReceiveVector = 1, OtherVector = 2;
    private readonly Stack<IDisposable> _owned = new();
    private readonly Bar _registers;
    private readonly IgbRing _receive, _transmit;
    private readonly Interrupt _interrupt;
    private uint _oldest;

    /// <summary>Opens the controller, which is bound to a VFIO driver, resets it and waits for its link.</summary>
    /// <param name="host">The machine.</param>
    /// <param name="address">The device.</param>
    /// <param name="loopback">What is sent comes back, and does not reach the wire.</param>
    /// <exception cref="IommuFdException">The device cannot be opened, bound or attached.</exception>
    /// <exception cref="TimeoutException">The device does not do what the data sheet says in time.</exception>
    public IgbDevice(IommuHost host, PciAddress address, bool loopback = false)
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
            _registers = Own(device.OpenBar(0));
            _interrupt = Own(device.EnableInterrupts(InterruptKind.Msix, 2))[0];

            // Section 4.5: reset, interrupts off, link, rings, receiver and transmitter, interrupts on.
            _registers.Write32(Control, _registers.Read32(Control) | Reset);
            Thread.Sleep(2);
            Await("reset", () => (_registers.Read32(Control) & Reset) == 0);
            _registers.Write32(InterruptMaskClear, ~0u);
            _registers.Write32(VectorMaskClear, ~0u);
            _registers.Write32(ControlExtended, (_registers.Read32(ControlExtended) & ~LinkModeMask) | DriverLoaded);
            StartLink(loopback);

            ulong mac = _registers.Read32(AddressLow) | ((ulong)_registers.Read32(AddressHigh) & 0xffff) << 32;
            byte[] bytes = new byte[6];
            for (int i = 0; i < 6; i++)
                bytes[i] = (byte)(mac >> (8 * i));
            Mac = new PhysicalAddress(bytes);

            _receive = new IgbRing(_registers, receive, ReceiveQueue);
            _transmit = new IgbRing(_registers, transmit, TransmitQueue);
            for (uint i = 0; i < IgbRing.Entries; i++)
                _receive.Write(i, _receive.Address(i), 0);
            _receive.Start(0);
            _transmit.Start(0);
            _registers.Write32(ReceiveControl, ReceiveEnable | AcceptBroadcast | StripCrc | (loopback ? Loopback : 0));
            _registers.Write32(TransmitControl, TransmitEnable | PadShort);
            Await("the queues", () => _receive.IsEnabled && _transmit.IsEnabled);
            _receive.Give(IgbRing.Entries - 1);

            // Vector 0 for reception, vector 1 for the link; a message masks its vector until the driver wants the next one.
            _registers.Write32(Gpie, MultipleMsix | AutoMaskOnMessage);
            _registers.Write32(VectorAutoClear, ReceiveVector | OtherVector);
            _registers.Write32(VectorAutoMask, ReceiveVector | OtherVector);
            _registers.Write32(Ivar, Valid);
            _registers.Write32(IvarOther, (Valid | 1) << 8);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The station's address.</summary>
    public PhysicalAddress Mac { get; }

    /// <summary>True when registers are accessed as memory, not by pread and pwrite.</summary>
    public bool HasMappedRegisters => _registers.IsMapped;

    /// <summary>True while there is a link.</summary>
    public bool IsLinkUp => (_registers.Read32(Status) & LinkUp) != 0;

    /// <summary>Frames received and sent, and those for which there was no buffer, since the last call: the device's counters are cleared by reading.</summary>
    public (uint Received, uint Sent, uint NoBuffer) ReadStatistics() =>
        (_registers.Read32(GoodReceived), _registers.Read32(GoodTransmitted), _registers.Read32(NoBuffer));

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
            _registers.Write32(VectorMaskSet, ReceiveVector);
            _ = await _interrupt.WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // The device stops before the memory of its rings goes.
        try
        {
            if (_registers is not null)
            {
                _registers.Write32(VectorMaskClear, ~0u);
                _registers.Write32(ReceiveControl, 0);
                _registers.Write32(TransmitControl, 0);
                _registers.Write32(Control, _registers.Read32(Control) | Reset);
                Thread.Sleep(2);
            }
        }
        finally
        {
            while (_owned.TryPop(out IDisposable? owned))
                owned.Dispose();
        }
    }

    private void StartLink(bool loopback)
    {
        _registers.Write32(Control, _registers.Read32(Control) | SetLinkUp);
        WritePhy(0, 0x1200); // negotiate
        Await("the link", () => IsLinkUp);
        if (!loopback)
            return;

        // Section 3.5.6.3.1: the PHY loops at 1000 Mb/s, full duplex, and the MAC is told so.
        WritePhy(0, 0x4140);
        Thread.Sleep(50);
        _registers.Write32(Control, (_registers.Read32(Control) & ~SpeedMask) | ForceSpeed | ForceDuplex | Speed1000 | FullDuplex | SetLinkUp);
    }

    private void WritePhy(uint register, ushort value)
    {
        const uint ready = 1u << 28, error = 1u << 30;
        _registers.Write32(Mdic, 1u << 26 | 1u << 21 | register << 16 | value);
        Await("the PHY", () => (_registers.Read32(Mdic) & ready) != 0);
        if ((_registers.Read32(Mdic) & error) != 0)
            throw new IOException($"The PHY refuses to write register {register}.");
    }

    private static void Await(string what, Func<bool> done)
    {
        long end = Environment.TickCount64 + 10_000;
        while (!done())
        {
            if (Environment.TickCount64 > end)
                throw new TimeoutException($"The controller did not finish {what} in 10 s.");
            Thread.Sleep(1);
        }
    }

    private T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Push(owned);
        return owned;
    }
}
