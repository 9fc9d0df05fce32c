using IommuFd.HwSim;
using IommuFd.HwSim.Devices;
using IommuFd.HwSim.Devices.Igb;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Devices;

/// <summary>
/// An 82576 with 2 MiB of memory at 16 MiB: rings of 8 descriptors at 0x1000 (receive) and 0x2000 (transmit) for each queue, buffers behind them.
/// </summary>
internal sealed unsafe class IgbMachine : IInterruptSink, IDisposable
{
    public const ulong Memory = 0x100_0000, Payload = Memory + 0x10_0000;
    public const uint Entries = 8;
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { ArenaBase = Memory, ArenaSize = 2 << 20 });
    private readonly NoIommuUnit _unit;

    public IgbMachine()
    {
        _unit = new NoIommuUnit(_memory);
        Igb = new IgbController { RequesterId = 0x100, Unit = _unit, Interrupts = this };
        Igb.WriteConfig(PciConfigSpace.Command, 2, 7);
    }

    public IgbController Igb { get; }

    /// <summary>Vectors of the messages so far, with 100 added for those of virtual functions.</summary>
    public List<int> Messages { get; } = [];

    public bool Line { get; private set; }

    public void Dispose() => _memory.Dispose();

    public void Message(PciDevice device, int vector, ulong address, uint data) => Messages.Add(vector + (device is IgbVirtualFunction ? 100 : 0));

    void IInterruptSink.Line(PciDevice device, bool asserted) => Line = asserted;

    public uint Read(ulong offset) => (uint)Igb.ReadBar(0, offset, 4);

    public void Write(ulong offset, uint value) => Igb.WriteBar(0, offset, 4, value);

    /// <summary>MSI-X on, no vector masked.</summary>
    public static void EnableMsix(PciDevice device)
    {
        device.WriteConfig(0x72, 2, 0x8000);
        for (ulong vector = 0; vector < (ulong)device.MsixVectors; vector++)
            device.WriteBar(3, (16 * vector) + 12, 4, 0);
    }

    public IgbVirtualFunction AddVirtual()
    {
        IgbVirtualFunction function = Igb.AddVirtual();
        function.RequesterId = (ushort)(0x180 + (2 * function.Index));
        function.Unit = _unit;
        function.Interrupts = this;
        function.WriteConfig(PciConfigSpace.Command, 2, 6);
        return function;
    }

    /// <summary>Receiver and transmitter on, with MAC loopback; queue pair 0 is set up.</summary>
    public void Start(uint receive = 0x0400_8042, uint split = 1u << 25)
    {
        SetUpQueue(Igb, 0xc000, 0xe000, 0, split);
        Write(0x100, receive);
        Write(0x400, 0xa);
    }

    /// <summary>Sets up a queue pair; all receive buffers but one are given to the device.</summary>
    public void SetUpQueue(PciDevice device, ulong receive, ulong transmit, int number, uint split = 1u << 25)
    {
        ulong rings = Memory + 0x1000 + (ulong)(number * 0x2000);
        void Set(ulong at, ulong value) => device.WriteBar(0, at, 4, (uint)value);
        foreach ((ulong registers, ulong ring) in ((ulong, ulong)[])[(receive, rings), (transmit, rings + 0x1000)])
        {
            Set(registers, ring);
            Set(registers + 4, 0);
            Set(registers + 8, Entries * 16);
            Set(registers + 0x10, 0);
            Set(registers + 0x18, 0);
        }

        for (uint i = 0; i < Entries; i++)
            Put(rings + (16 * i), Buffer(number, i), 0);
        Set(receive + 0xc, split);
        Set(receive + 0x28, 1 << 25);
        Set(transmit + 0x28, 1 << 25);
        Set(receive + 0x18, Entries - 1);
    }

    /// <summary>Where the receive buffer of a descriptor is.</summary>
    public static ulong Buffer(int number, uint index) => Memory + 0x8_0000 + (ulong)(number * 0x8000) + (index * 4096);

    public static ulong ReceiveDescriptor(int number, uint index) => Memory + 0x1000 + (ulong)(number * 0x2000) + (16 * index);

    public static ulong TransmitDescriptor(int number, uint index) => ReceiveDescriptor(number, index) + 0x1000;

    public void Put(ulong address, ulong first, ulong second)
    {
        ulong* words = stackalloc ulong[2] { first, second };
        Assert.Equal(DmaStatus.Success, _unit.Write(0, DmaRequest.NoPasid, address, words, 16));
    }

    public (ulong First, ulong Second) Get(ulong address)
    {
        ulong* words = stackalloc ulong[2];
        Assert.Equal(DmaStatus.Success, _unit.Read(0, DmaRequest.NoPasid, address, words, 16));
        return (words[0], words[1]);
    }

    public void Put(ulong address, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* source = bytes)
            Assert.Equal(DmaStatus.Success, _unit.Write(0, DmaRequest.NoPasid, address, source, (ulong)bytes.Length));
    }

    public byte[] Get(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        fixed (byte* target = bytes)
            Assert.Equal(DmaStatus.Success, _unit.Read(0, DmaRequest.NoPasid, address, target, (ulong)length));
        return bytes;
    }

    /// <summary>A frame from the station to itself.</summary>
    public static byte[] Frame(int length, ushort type = 0x88b5, byte seed = 1)
    {
        byte[] frame = new byte[length];
        for (int i = 14; i < length; i++)
            frame[i] = (byte)(i * seed);
        byte[] mac = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
        mac.CopyTo(frame, 0);
        mac.CopyTo(frame, 6);
        (frame[12], frame[13]) = ((byte)(type >> 8), (byte)type);
        return frame;
    }

    /// <summary>Sends with an advanced descriptor (EOP, IFCS, RS) at an index of queue 0.</summary>
    public void Send(byte[] frame, uint index = 0, uint command = 0, uint options = 0)
    {
        Put(Payload, frame);
        Put(TransmitDescriptor(0, index), Payload, (uint)frame.Length | 3u << 20 | 0x2b00_0000u | command | (ulong)options << 32);
        Write(0xe018, (index + 1) % Entries);
    }
}
