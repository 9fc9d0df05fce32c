using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

// Transmission (section 7.2): descriptors become frames, and these go to the pools, back to the receiver or to the wire.
public sealed unsafe partial class IgbController
{
    private const uint TransmitEnable = 2, PadShort = 8;
    private const uint EndOfPacket = 1u << 24, InsertFcs = 1u << 25, ReportStatus = 1u << 27, Extended = 1u << 29,
        InsertVlan = 1u << 30, Segment = 1u << 31;

    /// <summary>Where frames go that are not looped back, without their FCS; null: nowhere. Called under the controller's lock.</summary>
    public IEthernetWire? Wire { get; set; }

    private void TransmitFrom(int queue)
    {
        ref TransmitState state = ref _transmit[queue];
        if ((Register(TCTL) & TransmitEnable) == 0 || state.Stalled
            || !Ring(Transmit, queue, out ulong ring, out uint entries) || !MayTransmit(queue))
            return;
        uint head = QueueRegister(Transmit, queue, Head), tail = QueueRegister(Transmit, queue, Tail),
            headRegister = Transmit + ((uint)queue * QueueStride) + Head;
        if (head >= entries || tail >= entries)
        {
            Note($"transmit queue {queue}: head {head} or tail {tail} is not below its {entries} descriptors");
            return;
        }

        while (head != tail)
        {
            Descriptor descriptor;
            // A read that the IOMMU refuses stops the queue until it is enabled anew.
            if (!Fetch(queue, ring + (16UL * head), &descriptor, 16) || !Take(queue, ref state, in descriptor))
            {
                state.Stalled = true;
                break;
            }

            ulong at = ring + (16UL * head);
            head = head + 1 == entries ? 0 : head + 1;
            Store(headRegister, head);
            if ((descriptor.W2 & ReportStatus) != 0 && !Report(queue, at, descriptor.W3, head))
            {
                state.Stalled = true;
                break;
            }
        }

        RaiseCauses();
    }

    // Done: in the descriptor, or the head in memory (TDWBAL bit 0).
    private bool Report(int queue, ulong descriptor, uint status, uint head)
    {
        _txCauses |= 1u << queue;
        uint low = QueueRegister(Transmit, queue, HeadWriteBackLow);
        if ((low & 1) != 0)
            return Deposit(queue, (low & ~3u) | (ulong)QueueRegister(Transmit, queue, HeadWriteBackHigh) << 32, &head, 4);
        status |= 1;
        return Deposit(queue, descriptor + 12, &status, 4);
    }

    // False when the data could not be read.
    private bool Take(int queue, ref TransmitState state, in Descriptor descriptor)
    {
        bool extended = (descriptor.W2 & Extended) != 0;
        if (extended && (descriptor.W2 >> 20 & 15) == 2)
        {
            int context = (int)(descriptor.W3 >> 4 & 1) * 4;
            state.Context[context] = descriptor.W0;
            state.Context[context + 1] = descriptor.W2;
            state.Context[context + 2] = descriptor.W3;
            return true;
        }

        if (state.Length == 0)
            (state.FirstCommand, state.FirstOptions, state.Dropped) = (descriptor.W2, descriptor.W3, false);
        int length = (int)(descriptor.W2 & 0xffff);
        fixed (byte* frame = state.Frame)
        {
            // Room is kept for a tag.
            if (state.Length + length > ((state.FirstCommand & Segment) != 0 && extended ? PacketSize - 64 : LargestFrame))
                state.Dropped = true;
            else if (!Fetch(queue, descriptor.Address, frame + state.Length, (ulong)length))
                return false;
            else
                state.Length += length;
            if ((descriptor.W2 & EndOfPacket) == 0)
                return true;
            if (!state.Dropped && state.Length > 14)
                Finish(queue, ref state, frame, in descriptor, extended);
        }

        state.Length = 0;
        return true;
    }

    private void Finish(int queue, ref TransmitState state, byte* frame, in Descriptor last, bool extended)
    {
        // Without IFCS the frame brings its FCS along.
        int length = (last.W2 & InsertFcs) != 0 ? state.Length : state.Length - 4;
        uint vlan = last.W3 >> 16;
        if (extended)
        {
            int context = (int)(state.FirstOptions >> 4 & 1) * 4;
            uint lengths = state.Context[context], kind = state.Context[context + 1];
            vlan = lengths >> 16;
            int network = (int)(lengths >> 9 & 0x7f), transport = network + (int)(lengths & 0x1ff);
            if ((state.FirstCommand & Segment) != 0)
            {
                Segmentation how = new(network, transport, kind, state.Context[context + 2], state.FirstOptions);
                SendSegments(queue, frame, length, in how, vlan, last.W2);
                return;
            }

            if ((state.FirstOptions & 0x100) != 0)
                IgbChecksum.Insert(frame, length, network, transport, network + 10);
            if ((state.FirstOptions & 0x200) != 0)
                IgbChecksum.Insert(frame, length, transport, length, transport + ((kind >> 11 & 3) switch { 0 => 6, 1 => 16, _ => FrameSize }));
        }
        else if ((last.W2 & 1u << 26) != 0)
        {
            // Legacy: from CSS to the end, put at CSO.
            IgbChecksum.Insert(frame, length, (int)(last.W3 >> 8 & 0xff), length, (int)(last.W2 >> 16 & 0xff));
        }

        Emit(queue, frame, length, vlan, last.W2);
    }

    private void Emit(int queue, byte* frame, int length, uint vlan, uint command)
    {
        if ((command & InsertVlan) != 0)
        {
            // SAFETY: there is room for the tag behind every frame.
            Buffer.MemoryCopy(frame + 12, frame + 16, FrameSize - 16, length - 12);
            frame[12] = 0x81;
            frame[13] = 0;
            frame[14] = (byte)(vlan >> 8);
            frame[15] = (byte)vlan;
            length += 4;
        }

        if (length < 60 && (Register(TCTL) & PadShort) != 0)
        {
            new Span<byte>(frame + length, 60 - length).Clear();
            length = 60;
        }

        Send(queue, frame, length);
    }

    private void Send(int queue, byte* frame, int length)
    {
        uint size = (uint)length + 4;
        Count(GPTC);
        Count(TPT);
        Count(PTC64 + SizeClass(size));
        CountBytes(GOTCL, size);
        CountBytes(TOTL, size);
        if ((frame[0] & 1) != 0)
            Count(IsBroadcast(frame) ? BPTC : MPTC);
        Owner(queue)?.CountSent(size);
        bool toWire = true;
        if (HasPools && (Register(DTXSWC) & 1u << 31) != 0)
        {
            // The switch: a pool hears itself only with LLE, and a unicast frame for another pool does not leave (sections 7.10.3.8 and 8.14.6).
            uint self = 1u << (queue % Pools), pools = PoolsOf(frame, length, useDefault: false) & ~(self & ~(Register(DTXSWC) >> 16));
            toWire = (frame[0] & 1) != 0 || pools == 0;
            ReceiveIn(pools, frame, length);
        }

        if (LoopsBack)
            Deliver(frame, length);
        else if (toWire && IsLinkUp)
            Wire?.Send(frame, length);
    }

    // Which of the counters for 64, 65..127, 128..255, 256..511, 512..1023 and more bytes, with FCS.
    private static uint SizeClass(uint size) => 4 * (size <= 64 ? 0u : size < 128 ? 1 : size < 256 ? 2 : size < 512 ? 3 : size < 1024 ? 4 : 5u);

    private static bool IsBroadcast(byte* frame) => *(uint*)frame == uint.MaxValue && *(ushort*)(frame + 4) == ushort.MaxValue;
}
