using System.Buffers.Binary;
using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

// Reception (section 7.1): from a frame to descriptors.
public sealed unsafe partial class IgbController
{
    private const uint ReceiveEnable = 2, LongPackets = 0x20, StripCrc = 1u << 26, VlanMode = 1u << 30;

    /// <summary>A frame arrives on the wire.</summary>
    /// <param name="frame">Destination address first, without FCS.</param>
    /// <param name="length">Bytes, 14 to 9728.</param>
    public void Arrive(byte* frame, int length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 14);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, LargestFrame);
        lock (Gate)
        {
            if (HasCable && IsLinkUp)
                Deliver(frame, length);
            RaiseCauses();
        }
    }

    /// <summary>A plug in the socket that leads what is sent back: the wire of a controller alone.</summary>
    private sealed class LoopbackPlug(IgbController controller) : IEthernetWire
    {
        public void Send(byte* frame, int length) => controller.Deliver(frame, length);
    }

    /// <summary>Puts a loopback plug into the socket: what is sent arrives.</summary>
    public void PlugLoopback() => Wire = new LoopbackPlug(this);

    private void Deliver(byte* frame, int length)
    {
        if ((Register(RCTL) & ReceiveEnable) == 0 || !IsLinkUp)
            return;
        uint size = (uint)length + 4;
        Count(TPR);
        CountBytes(TORL, size);
        bool tagged = IsTagged(frame, length);
        uint largest = (Register(RCTL) & LongPackets) != 0 ? Register(RLPML) & 0x3fff : 1518;
        if (size > largest + (tagged ? 4u : 0))
        {
            Count(ROC);
            return;
        }

        if (size < 64)
        {
            Count(RUC);
            return;
        }

        if (HasPools)
        {
            ReceiveIn(PoolsOf(frame, length, useDefault: true), frame, length);
        }
        else if (Accepts(frame, length))
        {
            CountGood(frame, size);
            bool strip = tagged && (Register(CTRL) & VlanMode) != 0;
            _ = Fill(QueueByHash(frame, length, out uint hash, out uint kind), frame, length, strip, hash, kind);
        }
    }

    private void ReceiveIn(uint pools, byte* frame, int length)
    {
        pools &= Register(VFRE) | ~((1u << _virtual.Count) - 1);
        if (pools == 0 || (Register(RCTL) & ReceiveEnable) == 0)
            return;
        CountGood(frame, (uint)length + 4);
        for (int pool = 0; pool < Pools; pool++)
        {
            if ((pools >> pool & 1) == 0)
                continue;
            uint options = Register(VMOLR + (4 * (uint)pool));
            bool strip = IsTagged(frame, length) && (options & 1u << 30) != 0;
            if (Fill(pool, frame, length, strip, 0, 0) && pool < _virtual.Count)
                _virtual[pool].CountReceived((uint)length + 4, (frame[0] & 1) != 0);
        }
    }

    private void CountGood(byte* frame, uint size)
    {
        Count(GPRC);
        Count(PRC64 + SizeClass(size));
        CountBytes(GORCL, size);
        if ((frame[0] & 1) != 0)
            Count(IsBroadcast(frame) ? BPRC : MPRC);
    }

    // Puts a frame into a queue. SAFETY: the scratch buffer holds the largest frame with its FCS.
    private bool Fill(int queue, byte* frame, int length, bool strip, uint hash, uint hashKind)
    {
        if (_receiveStalled[queue] || !Ring(Receive, queue, out ulong ring, out uint entries))
            return false;
        uint split = QueueRegister(Receive, queue, SplitControl), format = split >> 25 & 7;
        uint room = (split & 0x7f) != 0 ? (split & 0x7f) << 10 : 2048u >> (int)(Register(RCTL) >> 16 & 3);
        uint head = QueueRegister(Receive, queue, Head), tail = QueueRegister(Receive, queue, Tail),
            headRegister = Receive + ((uint)queue * QueueStride) + Head;
        if (head >= entries || tail >= entries)
        {
            Note($"receive queue {queue}: head {head} or tail {tail} is not below its {entries} descriptors");
            return false;
        }

        if (format > 1)
            Note("header split is not modelled; frames arrive in one piece");
        uint vlan = 0, status = 1;
        bool appends = (Register(RCTL) & StripCrc) == 0;
        if (strip || appends)
        {
            fixed (byte* scratch = _scratch)
            {
                uint crc = appends ? IgbChecksum.Crc(frame, length) : 0;
                int skip = strip ? 4 : 0;
                Buffer.MemoryCopy(frame, scratch, FrameSize, 12);
                Buffer.MemoryCopy(frame + 12 + skip, scratch + 12, FrameSize - 12, length - 12 - skip);
                if (strip)
                    (vlan, status) = (BinaryPrimitives.ReadUInt16BigEndian(new ReadOnlySpan<byte>(frame + 14, 2)), status | 8);
                length -= skip;
                *(uint*)(scratch + length) = crc;
                frame = scratch;
            }
        }

        uint type = 0;
        status |= (Register(RXCSUM) & 0x300) != 0 ? IgbChecksum.Inspect(frame, length, out type) : 0;
        length += appends ? 4 : 0;
        uint free = tail >= head ? tail - head : tail + entries - head;
        if (free * room < (uint)length)
        {
            Count(RNBC);
            Count(MPC);
            Store(Receive + ((uint)queue * QueueStride) + DropCount, QueueRegister(Receive, queue, DropCount) + 1);
            return false;
        }

        for (uint done = 0; done < (uint)length;)
        {
            Descriptor descriptor;
            ulong at = ring + (16UL * head);
            uint part = Math.Min((uint)length - done, room);
            bool last = done + part == (uint)length;
            uint state = last ? status | 2 : 1;
            if (!Fetch(queue, at, &descriptor, 16) || !Deposit(queue, descriptor.Address, frame + done, part))
            {
                _receiveStalled[queue] = true;
                return false;
            }

            descriptor = format == 0
                ? new Descriptor { W0 = descriptor.W0, W1 = descriptor.W1, W2 = part, W3 = (state & 0xff) | (state >> 24 & 0xe0) << 8 | vlan << 16 }
                : new Descriptor { W0 = hashKind | type << 4, W1 = hash, W2 = state, W3 = part | vlan << 16 };
            Polled?.Publish(); // whoever sees the frame in memory sees it counted
            if (!Deposit(queue, at, &descriptor, 16))
            {
                _receiveStalled[queue] = true;
                return false;
            }

            done += part;
            head = head + 1 == entries ? 0 : head + 1;
            Store(headRegister, head);
        }

        _rxCauses |= 1u << queue;
        return true;
    }
}
