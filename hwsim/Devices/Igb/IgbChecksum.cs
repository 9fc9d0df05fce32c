using System.Buffers.Binary;

namespace IommuFd.HwSim.Devices.Igb;

/// <summary>The Internet's checksum (RFC 1071), Ethernet's (IEEE 802.3 clause 3.2.9), and what a frame holds.</summary>
// SAFETY: frames are in buffers of 16 KiB, and every access is checked against the frame's length first.
internal static unsafe class IgbChecksum
{
    private static readonly uint[] s_crc = Table();

    /// <summary>
    /// Sums up [start, end) and puts the complement at <paramref name="at"/>, whose old content is part of the sum (a pseudo header's, or zero).
    /// </summary>
    public static void Insert(byte* frame, int length, int start, int end, int at)
    {
        if (start < 0 || end > length || start >= end || at + 2 > length)
            return;
        ushort sum = (ushort)~Fold(Sum(frame + start, end - start, 0));
        BinaryPrimitives.WriteUInt16BigEndian(new Span<byte>(frame + at, 2), sum);
    }

    /// <summary>The FCS of a frame.</summary>
    public static uint Crc(byte* frame, int length)
    {
        uint crc = ~0u;
        for (int i = 0; i < length; i++)
            crc = crc >> 8 ^ s_crc[(byte)(crc ^ frame[i])];
        return ~crc;
    }

    /// <summary>Looks into a frame for a receive descriptor: packet type (section 7.1.5.2), and what was checked and found wrong.</summary>
    /// <param name="frame">The frame, without a VLAN tag.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="type">IPV4 1, IPV6 4, TCP 0x10, UDP 0x20.</param>
    /// <returns>Status bits (UDPCS 0x10, L4CS 0x20, IPCS 0x40) and error bits (L4E 1 &lt;&lt; 29, IPE 1 &lt;&lt; 30).</returns>
    public static uint Inspect(byte* frame, int length, out uint type)
    {
        type = 0;
        ReadOnlySpan<byte> bytes = new(frame, length);
        if (length < 34)
            return 0;
        uint status = 0, pseudo;
        int transport, end;
        byte protocol;
        switch (BinaryPrimitives.ReadUInt16BigEndian(bytes[12..]))
        {
            case 0x0800 when bytes[14] >> 4 == 4:
                type = 1;
                int header = (bytes[14] & 15) * 4;
                end = 14 + BinaryPrimitives.ReadUInt16BigEndian(bytes[16..]);
                transport = 14 + header;
                if (header < 20 || transport > length || end > length || end < transport)
                    return 0;
                status = 0x40 | (Fold(Sum(frame + 14, header, 0)) == 0xffff ? 0 : 1u << 30);
                // A fragment's transport header, if it has one, covers more than this frame.
                if ((BinaryPrimitives.ReadUInt16BigEndian(bytes[20..]) & 0x3fff) != 0)
                    return status;
                protocol = bytes[23];
                pseudo = Sum(frame + 26, 8, 0);
                break;
            case 0x86dd when length >= 54:
                type = 4;
                transport = 54;
                end = 54 + BinaryPrimitives.ReadUInt16BigEndian(bytes[18..]);
                if (end > length)
                    return 0;
                protocol = bytes[20];
                pseudo = Sum(frame + 22, 32, 0);
                break;
            default:
                return 0;
        }

        int size = end - transport;
        if (!(protocol == 6 && size >= 20) && !(protocol == 17 && size >= 8))
            return status;
        type |= protocol == 6 ? 0x10u : 0x20u;
        if (protocol == 17 && bytes[transport + 6] == 0 && bytes[transport + 7] == 0)
            return status;
        bool good = Fold(Sum(frame + transport, size, pseudo + protocol + (uint)size)) == 0xffff;
        return status | 0x20 | (protocol == 17 ? 0x10u : 0) | (good ? 0 : 1u << 29);
    }

    private static uint Sum(byte* bytes, int length, uint sum)
    {
        for (; length > 1; length -= 2, bytes += 2)
            sum += (uint)(bytes[0] << 8 | bytes[1]);
        return length == 1 ? sum + (uint)(bytes[0] << 8) : sum;
    }

    private static uint Fold(uint sum)
    {
        while (sum >> 16 != 0)
            sum = (sum & 0xffff) + (sum >> 16);
        return sum;
    }

    private static uint[] Table()
    {
        uint[] table = new uint[256];
        for (uint i = 0; i < 256; i++)
        {
            uint value = i;
            for (int bit = 0; bit < 8; bit++)
                value = (value & 1) != 0 ? value >> 1 ^ 0xedb8_8320 : value >> 1;
            table[i] = value;
        }

        return table;
    }
}
