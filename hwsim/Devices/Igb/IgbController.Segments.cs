using System.Buffers.Binary;

namespace IommuFd.HwSim.Devices.Igb;

// Segmentation of TCP and UDP (section 7.2.4): the header is sent before every piece of the payload, with its lengths, number, sequence, flags and
// checksums made to fit.
public sealed unsafe partial class IgbController
{
    private const uint Segmented = 0x40f8;
    private const byte Fin = 1, Push = 8, ReducedWindow = 0x80;

    // A context descriptor, taken apart: offsets of the headers, TUCMD, sizes (MSS and L4LEN), and the data descriptor's options.
    private readonly record struct Segmentation(int Network, int Transport, uint Kind, uint Sizes, uint Options)
    {
        public int Mss => (int)(Sizes >> 16);

        public int Header => Transport + (int)(Sizes >> 8 & 0xff);

        public bool IsTcp => (Kind >> 11 & 3) == 1;

        public bool IsIPv4 => (Kind & 1u << 10) != 0;
    }

    // SAFETY: the segment's buffer holds the largest frame, and header + MSS is compared with that first.
    private void SendSegments(int queue, byte* frame, int length, in Segmentation how, uint vlan, uint command)
    {
        int header = how.Header, smallest = how.Transport + (how.IsTcp ? 20 : 8);
        if (how.Mss == 0 || header < smallest || how.Transport < how.Network + (how.IsIPv4 ? 20 : 40) || header > length
            || header + how.Mss > LargestFrame)
        {
            Note($"segmentation with headers of {header} bytes and an MSS of {how.Mss} makes no frames");
            return;
        }

        Count(Segmented);
        fixed (byte* segment = _segment)
        {
            int payload = length - header;
            for (int done = 0, number = 0; done < payload; done += how.Mss, number++)
            {
                int part = Math.Min(how.Mss, payload - done);
                Buffer.MemoryCopy(frame, segment, FrameSize, header);
                Buffer.MemoryCopy(frame + header + done, segment + header, FrameSize - header, part);
                Fit(new Span<byte>(segment, header), in how, part, done, number, last: done + part == payload);
                if (how.IsIPv4 && (how.Options & 0x100) != 0)
                    IgbChecksum.Insert(segment, header, how.Network, how.Transport, how.Network + 10);
                if ((how.Options & 0x200) != 0)
                    IgbChecksum.Insert(segment, header + part, how.Transport, header + part, how.Transport + (how.IsTcp ? 16 : 6));
                Emit(queue, segment, header + part, vlan, command);
            }
        }
    }

    private static void Fit(Span<byte> header, in Segmentation how, int part, int done, int number, bool last)
    {
        Span<byte> network = header[how.Network..], transport = header[how.Transport..];
        int transported = header.Length - how.Transport + part;
        if (how.IsIPv4)
        {
            BinaryPrimitives.WriteUInt16BigEndian(network[2..], (ushort)(how.Transport - how.Network + transported));
            BinaryPrimitives.WriteUInt16BigEndian(network[4..], (ushort)(BinaryPrimitives.ReadUInt16BigEndian(network[4..]) + number));
            network[10..12].Clear();
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(network[4..], (ushort)(how.Transport - how.Network - 40 + transported));
        }

        if (how.IsTcp)
        {
            BinaryPrimitives.WriteUInt32BigEndian(transport[4..], BinaryPrimitives.ReadUInt32BigEndian(transport[4..]) + (uint)done);
            transport[13] &= (byte)~((last ? 0 : Fin | Push) | (number == 0 ? 0 : ReducedWindow));
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(transport[4..], (ushort)transported);
        }

        // Software summed the pseudo header without its length.
        Span<byte> checksum = transport[(how.IsTcp ? 16 : 6)..];
        uint sum = BinaryPrimitives.ReadUInt16BigEndian(checksum) + (uint)transported;
        BinaryPrimitives.WriteUInt16BigEndian(checksum, (ushort)((sum & 0xffff) + (sum >> 16)));
    }
}
