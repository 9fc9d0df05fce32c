using System.Buffers.Binary;
using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

// Which frames are taken, and by whom (sections 7.1.1, 7.1.2.8 and 7.10.3).
public sealed unsafe partial class IgbController
{
    private const uint UnicastPromiscuous = 8, MulticastPromiscuous = 0x10, AcceptBroadcast = 0x8000, FilterVlan = 0x4_0000, AddressValid = 1u << 31;
    private const int Addresses = 24;

    private bool HasPools => (Register(MRQC) & 7) is 3 or 5;

    private static bool IsTagged(byte* frame, int length) => length >= 18 && frame[12] == 0x81 && frame[13] == 0;

    private static uint VlanOf(byte* frame) => (uint)((frame[14] & 15) << 8 | frame[15]);

    // Without pools.
    private bool Accepts(byte* frame, int length)
    {
        uint control = Register(RCTL);
        if ((control & FilterVlan) != 0 && IsTagged(frame, length))
        {
            uint vlan = VlanOf(frame);
            if ((Register(VFTA + (4 * (vlan >> 5))) >> (int)(vlan & 31) & 1) == 0)
                return false;
        }

        if (IsBroadcast(frame))
            return (control & AcceptBroadcast) != 0;
        if ((frame[0] & 1) != 0)
            return (control & MulticastPromiscuous) != 0 || InMulticastTable(frame) || Match(frame, out _);
        return (control & UnicastPromiscuous) != 0 || Match(frame, out _);
    }

    // RAH bits 18 to 25 name the pools of an address. The first eight pairs of registers lie together, then 8 more; the last eight are at 0x54e0.
    private bool Match(byte* frame, out uint pools)
    {
        uint low = *(uint*)frame, high = *(ushort*)(frame + 4);
        bool found = false;
        pools = 0;
        for (uint i = 0; i < Addresses; i++)
        {
            uint at = i < 16 ? RAL + (8 * i) : 0x54e0 + (8 * (i - 16)), upper = Register(at + 4);
            if ((upper & AddressValid) != 0 && Register(at) == low && (upper & 0xffff) == high)
            {
                found = true;
                pools |= upper >> 18 & 0xff;
            }
        }

        return found;
    }

    // 12 bits of the address choose one of 4096 (RCTL.MO says which 12).
    private bool InMulticastTable(byte* frame)
    {
        int shift = (int)(Register(RCTL) >> 12 & 3) switch { 0 => 4, 1 => 3, 2 => 2, _ => 0 };
        uint hash = (uint)(frame[5] << 8 | frame[4]) >> shift & 0xfff;
        return (Register(MTA + (4 * (hash >> 5))) >> (int)(hash & 31) & 1) != 0;
    }

    // The pools that a frame is for.
    private uint PoolsOf(byte* frame, int length, bool useDefault)
    {
        uint pools = 0;
        bool broadcast = IsBroadcast(frame), multicast = (frame[0] & 1) != 0 && !broadcast, listed = multicast && InMulticastTable(frame);
        _ = Match(frame, out uint matching);
        for (int pool = 0; pool < Pools; pool++)
        {
            uint options = Register(VMOLR + (4 * (uint)pool));
            bool wants = broadcast ? (options & 1u << 27) != 0
                : multicast ? (options & 1u << 28) != 0 || (listed && (options & 1u << 25) != 0)
                : (listed && (options & 1u << 26) != 0);
            pools |= wants || (matching >> pool & 1) != 0 ? 1u << pool : 0;
        }

        uint control = Register(VT_CTL);
        if (pools == 0 && useDefault && (control & 1u << 29) == 0)
            pools = 1u << (int)(control >> 7 & 7);
        return pools & VlanPools(frame, length);
    }

    // VLVF: a VLAN and its pools. Untagged frames need VMOLR.AUPE.
    private uint VlanPools(byte* frame, int length)
    {
        uint pools = 0;
        if (!IsTagged(frame, length))
        {
            for (int pool = 0; pool < Pools; pool++)
                pools |= (Register(VMOLR + (4 * (uint)pool)) >> 24 & 1) << pool;
            return pools;
        }

        if ((Register(RCTL) & FilterVlan) == 0)
            return 0xff;
        uint vlan = VlanOf(frame);
        for (uint i = 0; i < 32; i++)
        {
            uint entry = Register(VLVF + (4 * i));
            if ((entry & 1u << 31) != 0 && (entry & 0xfff) == vlan)
                pools |= entry >> 12 & 0xff;
        }

        return pools;
    }

    // Receive-side scaling (section 7.1.2.8): Toeplitz over addresses and ports, RETA chooses the queue.
    private int QueueByHash(byte* frame, int length, out uint hash, out uint kind)
    {
        hash = kind = 0;
        uint control = Register(MRQC);
        if ((control & 7) != 2 || length < 34 || frame[12] != 8 || frame[13] != 0 || frame[14] >> 4 != 4)
            return 0;
        int header = 14 + ((frame[14] & 15) * 4);
        bool ports = length >= header + 4 && (frame[20] & 0x3f) == 0 && frame[21] == 0;
        (int bytes, kind) = ports && frame[23] == 6 && (control & 1u << 16) != 0 ? (12, 1u)
            : ports && frame[23] == 17 && (control & 1u << 22) != 0 ? (12, 7u)
            : (control & 1u << 17) != 0 ? (8, 2u) : (0, 0u);
        ulong window = BinaryPrimitives.ReverseEndianness(Register(RSSRK)) * 0x1_0000_0000UL
            | BinaryPrimitives.ReverseEndianness(Register(RSSRK + 4));
        for (int i = 0; i < bytes; i++)
        {
            byte value = frame[i < 8 ? 26 + i : header + i - 8];
            for (int bit = 7; bit >= 0; bit--, window <<= 1)
                hash ^= (value >> bit & 1) != 0 ? (uint)(window >> 32) : 0;
            // The next key byte comes in at the end of the window.
            int next = i + 8;
            window |= Register(RSSRK + (4 * (uint)(next / 4))) >> (next % 4 * 8) & 0xff;
        }

        return kind == 0 ? 0 : (int)(Register(RETA + (hash & 0x7c)) >> (int)(hash & 3) * 8 & 7);
    }
}
