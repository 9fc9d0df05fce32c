using IommuFd.HwSim.Units;
using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

// The rings (sections 7.1.4 and 7.2.2) and whose memory they are in.
public sealed unsafe partial class IgbController
{
    // What a queue puts together: the largest packet that is segmented, with its header; what leaves or arrives fits into the scratch buffer.
    private const int PacketSize = 0x1_4000, FrameSize = 16384, LargestFrame = 9728;

    /// <summary>A descriptor as four words.</summary>
    private struct Descriptor
    {
        public uint W0, W1, W2, W3;

        public readonly ulong Address => W0 | (ulong)W1 << 32;
    }

    // The frame that a queue is putting together, and the offloads that it remembers.
    private struct TransmitState
    {
        public byte[]? Frame;
        public int Length;
        public bool Stalled, Dropped;
        public uint FirstCommand, FirstOptions;
        public fixed uint Context[8];
    }

    private readonly TransmitState[] _transmit = new TransmitState[Queues];
    private readonly bool[] _receiveStalled = new bool[Queues];
    private readonly byte[] _scratch = GC.AllocateArray<byte>(FrameSize, pinned: true);
    private readonly byte[] _segment = GC.AllocateArray<byte>(FrameSize, pinned: true);

    private void ResetQueues()
    {
        for (int i = 0; i < Queues; i++)
            ResetQueue(i);
    }

    private void ResetQueue(int queue)
    {
        for (uint at = 0; at < QueueStride; at += 4)
        {
            Store(Receive + ((uint)queue * QueueStride) + at, 0);
            Store(Transmit + ((uint)queue * QueueStride) + at, 0);
        }

        byte[]? frame = _transmit[queue].Frame;
        _transmit[queue] = new TransmitState { Frame = frame };
        _receiveStalled[queue] = false;
    }

    private void WriteQueue(uint offset, uint value)
    {
        int queue = (int)(offset % 0x400 / QueueStride);
        bool transmits = offset >= Transmit;
        switch (offset % QueueStride)
        {
            case BaseLow:
                value &= ~0x7fu;
                break;
            case Length:
                value &= 0xf_ff80;
                break;
            case Head or Tail:
                value &= 0xffff;
                break;
            default:
                break;
        }

        Store(offset, value);
        switch (offset % QueueStride)
        {
            case Control when transmits:
                _transmit[queue].Frame ??= GC.AllocateArray<byte>(PacketSize, pinned: true);
                if ((value & QueueEnable) == 0)
                    (_transmit[queue].Stalled, _transmit[queue].Length) = (false, 0);
                TransmitFrom(queue);
                break;
            case Control:
                if ((value & QueueEnable) == 0)
                    _receiveStalled[queue] = false;
                break;
            case Tail when transmits:
                TransmitFrom(queue);
                break;
            default:
                break;
        }
    }

    private uint QueueRegister(uint direction, int queue, uint register) => Register(direction + ((uint)queue * QueueStride) + register);

    // With virtual functions, queue n and n + 8 belong to number n (section 7.10.2.1): their DMA carries its requester id.
    private IgbVirtualFunction? Owner(int queue) => (queue % Pools) < _virtual.Count ? _virtual[queue % Pools] : null;

    // SAFETY: callers pass memory of this model that holds length bytes; the rings are in the owner's address space.
    private bool Fetch(int queue, ulong address, void* destination, ulong length) =>
        (Owner(queue) is { } function ? function.Fetch(address, destination, length) : DmaRead(address, destination, length)) == DmaStatus.Success;

    private bool Deposit(int queue, ulong address, void* source, ulong length) =>
        (Owner(queue) is { } function ? function.Deposit(address, source, length) : DmaWrite(address, source, length)) == DmaStatus.Success;

    private bool Ring(uint direction, int queue, out ulong address, out uint entries)
    {
        address = QueueRegister(direction, queue, BaseLow) | (ulong)QueueRegister(direction, queue, BaseHigh) << 32;
        entries = QueueRegister(direction, queue, Length) / 16;
        return entries != 0 && (QueueRegister(direction, queue, Control) & QueueEnable) != 0;
    }

    private void Count(uint register, uint amount = 1) => _registers[register / 4] += amount;

    // A count of bytes with its upper half behind it.
    private void CountBytes(uint register, uint amount)
    {
        uint before = Register(register);
        _registers[register / 4] = before + amount;
        if (before + amount < before)
            _registers[(register / 4) + 1]++;
    }
}
