using System.Buffers.Binary;
using Xunit;
using static HwSim.Tests.Devices.IgbMachine;

namespace HwSim.Tests.Devices;

/// <summary>The controller against the 82576 data sheet.</summary>
public sealed class IgbControllerTests : IDisposable
{
    private readonly IgbMachine _m = new();

    public void Dispose() => _m.Dispose();

    [Fact]
    public void The_first_64_words_of_the_EEPROM_add_up_to_baba()
    {
        int sum = 0;
        for (uint word = 0; word < 64; word++)
        {
            _m.Write(0x14, word << 2 | 1);
            uint answer = _m.Read(0x14);
            Assert.Equal(2u, answer & 3);
            sum += (int)(answer >> 16);
        }

        Assert.Equal(0xbaba, sum & 0xffff);
        Assert.Equal(0x1200_5452u, _m.Read(0x5400));
        Assert.Equal(0x8000_5634u, _m.Read(0x5404));
    }

    [Fact]
    public void The_PHY_answers_at_address_1_only()
    {
        _m.Write(0x20, 2u << 26 | 1u << 21 | 2u << 16);
        Assert.Equal(0x02a8u | 1u << 28, _m.Read(0x20) & 0x5000_ffff);
        _m.Write(0x20, 2u << 26 | 2u << 21 | 2u << 16);
        Assert.Equal(5u << 28, _m.Read(0x20) & 0x5000_0000);
    }

    [Fact]
    public void The_link_follows_CTRL_SLU_the_PHY_and_the_cable()
    {
        Assert.Equal(2u, _m.Read(8) & 2);
        _m.Write(0, 1);
        Assert.Equal(0u, _m.Read(8) & 2);
        Assert.Equal(4u, _m.Read(0x1500) & 4);
        _m.Write(0, 0x41);
        _m.Igb.HasCable = false;
        Assert.Equal(0u, _m.Read(8) & 2);
        _m.Write(0x20, 1u << 26 | 1u << 21 | 0x4140);
        Assert.Equal(2u, _m.Read(8) & 2);
    }

    [Fact]
    public void A_reset_ends_by_itself_and_leaves_the_PHY_alone()
    {
        _m.Start();
        _m.Write(0x20, 1u << 26 | 1u << 21 | 0x4140);
        _m.Write(0, 1u << 26 | 0x41);
        Assert.Equal(0x41u, _m.Read(0));
        Assert.Equal(0u, _m.Read(0x100));
        Assert.Equal(0u, _m.Read(0xc000));
        Assert.Equal(0x200u, _m.Read(0x10) & 0x200);
        _m.Write(0x20, 2u << 26 | 1u << 21);
        Assert.Equal(0x4140u, _m.Read(0x20) & 0xffff);
    }

    [Fact]
    public void The_software_semaphore_is_taken_by_reading_it()
    {
        Assert.Equal(0u, _m.Read(0x5b50) & 1);
        Assert.Equal(1u, _m.Read(0x5b50) & 1);
        _m.Write(0x5b50, 2);
        Assert.Equal(2u, _m.Read(0x5b50));
    }

    [Fact]
    public void Queues_0_to_3_and_old_registers_have_two_addresses()
    {
        _m.Write(0x2900, 0x1234_5680);
        Assert.Equal(0x1234_5680u, _m.Read(0xc040));
        _m.Write(0xe0c4, 7);
        Assert.Equal(7u, _m.Read(0x3b04));
        _m.Write(0xd0, 4);
        Assert.Equal(4u, _m.Read(0x1508));
        Assert.Equal(_m.Read(0), _m.Read(4));
    }

    [Fact]
    public void The_port_window_reaches_the_registers()
    {
        _m.Igb.WriteBar(2, 0, 4, 0x5400);
        Assert.Equal(0x1200_5452ul, _m.Igb.ReadBar(2, 4, 4));
    }

    [Fact]
    public void A_frame_with_an_advanced_descriptor_comes_back_and_both_descriptors_are_done()
    {
        _m.Start();
        byte[] frame = Frame(100);
        _m.Send(frame);
        Assert.Equal(frame, _m.Get(Buffer(0, 0), 100));
        Assert.Equal((0ul, 3ul | 100ul << 32), _m.Get(ReceiveDescriptor(0, 0)));
        Assert.Equal(1ul, _m.Get(TransmitDescriptor(0, 0)).Second >> 32 & 1);
        Assert.Equal(1u, _m.Read(0xc010));
        Assert.Equal(1u, _m.Read(0x3810));
    }

    [Fact]
    public void A_frame_with_legacy_descriptors_comes_back()
    {
        _m.Start(split: 0);
        byte[] frame = Frame(100);
        _m.Put(Payload, frame);
        _m.Put(TransmitDescriptor(0, 0), Payload, 60 | 2u << 24);
        _m.Put(TransmitDescriptor(0, 1), Payload + 60, 40 | 0xbu << 24);
        _m.Write(0xe018, 2);
        Assert.Equal(frame, _m.Get(Buffer(0, 0), 100));
        Assert.Equal((Buffer(0, 0), 100ul | 3ul << 32), _m.Get(ReceiveDescriptor(0, 0)));
    }

    [Fact]
    public void Without_RCTL_SECRC_the_FCS_is_received()
    {
        _m.Start(receive: 0x8042);
        byte[] frame = Frame(60);
        _m.Send(frame);
        Assert.Equal(64ul, _m.Get(ReceiveDescriptor(0, 0)).Second >> 32);
        // Over a frame with its FCS the register ends at a constant (IEEE 802.3 clause 3.2.9).
        uint crc = ~0u;
        foreach (byte value in _m.Get(Buffer(0, 0), 64))
        {
            crc ^= value;
            for (int bit = 0; bit < 8; bit++)
                crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb8_8320 : 0);
        }

        Assert.Equal(0xdebb_20e3u, crc);
    }

    [Fact]
    public void A_frame_larger_than_a_buffer_takes_several_descriptors()
    {
        _m.Start(receive: 0x0400_8062);
        byte[] frame = Frame(5000);
        _m.Send(frame);
        Assert.Equal(frame, (byte[])[.. _m.Get(Buffer(0, 0), 2048), .. _m.Get(Buffer(0, 1), 2048), .. _m.Get(Buffer(0, 2), 904)]);
        Assert.Equal(1ul | 2048ul << 32, _m.Get(ReceiveDescriptor(0, 0)).Second);
        Assert.Equal(3ul | 904ul << 32, _m.Get(ReceiveDescriptor(0, 2)).Second);
    }

    [Theory]
    [InlineData(1515, 0x4040 + 0x6c)] // ROC
    [InlineData(59, 0x40a4)] // RUC
    public void A_frame_of_a_wrong_size_is_counted_and_not_received(int length, ulong counter)
    {
        _m.Start();
        _m.Write(0x400, 2);
        _m.Send(Frame(length));
        Assert.Equal(0u, _m.Read(0xc010));
        Assert.Equal(1u, _m.Read(counter));
    }

    [Fact]
    public void Without_a_descriptor_a_frame_is_lost_and_counted()
    {
        _m.Start();
        for (uint i = 0; i < 9; i++)
            _m.Send(Frame(60), i % Entries);
        Assert.Equal(2u, _m.Read(0x40a0));
        Assert.Equal(7u, _m.Read(0xc010));
    }

    [Fact]
    public void Statistics_are_cleared_by_reading()
    {
        _m.Start();
        _m.Send(Frame(100));
        Assert.Equal((1u, 104u, 1u, 104u), (_m.Read(0x4074), _m.Read(0x4088), _m.Read(0x4080), _m.Read(0x4090)));
        Assert.Equal((1u, 1u), (_m.Read(0x4060), _m.Read(0x40dc)));
        Assert.Equal((0u, 0u), (_m.Read(0x4074), _m.Read(0x4088)));
    }

    [Fact]
    public void A_VLAN_tag_is_inserted_and_stripped()
    {
        _m.Start();
        _m.Write(0, 0x4000_0041);
        byte[] frame = Frame(100);
        // A context descriptor with tag 0x2123, then the data with VLE.
        _m.Put(TransmitDescriptor(0, 0), 0x2123_0000, 2u << 20 | 1u << 29);
        _m.Write(0xe018, 1);
        _m.Send(frame, 1, 1u << 30);
        Assert.Equal(3ul | 8ul | 100ul << 32 | 0x2123ul << 48, _m.Get(ReceiveDescriptor(0, 0)).Second);
        Assert.Equal(frame, _m.Get(Buffer(0, 0), 100));
        _m.Write(0, 0x41);
        _m.Send(frame, 2, 1u << 30);
        Assert.Equal([0x81, 0x00, 0x21, 0x23, 0x88, 0xb5], _m.Get(Buffer(0, 1) + 12, 6));
    }

    [Fact]
    public void The_checksums_of_IPv4_and_UDP_are_inserted_and_found_good()
    {
        _m.Start();
        byte[] frame = UdpFrame();
        // The pseudo header's sum is software's part.
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(40), (ushort)Sum(frame.AsSpan(26, 8), 17 + 66u));
        _m.Put(TransmitDescriptor(0, 0), 14u << 9 | 20, 2u << 20 | 1u << 29 | 1u << 10);
        _m.Write(0xe018, 1);
        _m.Send(frame, 1, 0, 0x300);
        byte[] received = _m.Get(Buffer(0, 0), 100);
        Assert.Equal(0xffffu, Sum(received.AsSpan(14, 20), 0));
        Assert.Equal(0xffffu, Sum(received.AsSpan(34, 66), Sum(received.AsSpan(26, 8), 17 + 66u)));
        Assert.Equal(((ulong)0x21 << 4, 0x73ul | 100ul << 32), _m.Get(ReceiveDescriptor(0, 0)));

        received[60] ^= 1;
        _m.Send(received, 2);
        Assert.Equal(0x2000_0073ul | 100ul << 32, _m.Get(ReceiveDescriptor(0, 1)).Second);
    }

    [Theory]
    [InlineData(6, 1400, 2)]
    [InlineData(6, 1000, 3)]
    [InlineData(6, 2500, 1)]
    [InlineData(17, 1000, 3)]
    public void A_packet_is_cut_into_segments_that_the_receiver_finds_good(byte protocol, uint mss, int segments)
    {
        const int payload = 2500;
        bool tcp = protocol == 6;
        int l4 = tcp ? 20 : 8, header = 34 + l4;
        _m.Start(receive: 0x0400_8062, split: 1u << 25 | 4);
        byte[] packet = Frame(header + payload, 0x0800, 3);
        ((byte[])[0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4]).CopyTo(packet, 14);
        if (tcp)
            ((byte[])[0, 0, 1, 0, 0, 0, 0, 0, 0x50, 0x19, 0, 0]).CopyTo(packet, 38); // sequence 256; FIN, PSH, ACK
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(34 + (tcp ? 16 : 6)), (ushort)Sum(packet.AsSpan(26, 8), protocol));
        _m.Put(TransmitDescriptor(0, 0), 14u << 9 | 20,
            2u << 20 | 1u << 29 | 1u << 10 | (tcp ? 1u << 11 : 0) | (ulong)(mss << 16 | (uint)l4 << 8) << 32);
        _m.Write(0xe018, 1);
        _m.Send(packet, 1, 1u << 31, 0x300);

        Assert.Equal((uint)segments, _m.Read(0xc010));
        for (uint i = 0; i < segments; i++)
        {
            ulong done = _m.Get(ReceiveDescriptor(0, i)).Second;
            uint part = Math.Min(mss, payload - (i * mss));
            // Both checksums were looked at and are right; UDP has a bit of its own.
            Assert.Equal(tcp ? 0x63ul : 0x73, done & 0xffff_ffff);
            Assert.Equal((ulong)header + part, done >> 32);
            byte[] frame = _m.Get(Buffer(0, i), header + (int)part);
            Assert.Equal(packet.AsSpan(header + (int)(i * mss), (int)part), frame.AsSpan(header));
            Assert.Equal(0x1234 + i, BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(18)));
            if (tcp)
            {
                Assert.Equal(256 + (i * mss), BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(38)));
                Assert.Equal(i + 1 == segments ? 0x19 : 0x10, frame[47]);
            }
        }
    }

    // The published vectors of receive-side scaling (Microsoft, "Verifying the RSS hash calculation").
    [Theory]
    [InlineData("66.9.149.187", 2794, "161.142.100.80", 1766, 0x51ccc178u, 0x323e8fc2u)]
    [InlineData("199.92.111.2", 14230, "65.69.140.83", 4739, 0xc626b0eau, 0xd718262au)]
    [InlineData("24.19.198.95", 12898, "12.22.207.184", 38024, 0x5c2b394au, 0xd2d0a5deu)]
    public void The_RSS_hash_is_that_of_the_published_vectors(
        string source, ushort from, string destination, ushort to, uint withPorts, uint addresses)
    {
        byte[] key =
        [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
            0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        _m.Start();
        for (int i = 0; i < 40; i += 4)
            _m.Write(0x5c80 + (ulong)i, BinaryPrimitives.ReadUInt32LittleEndian(key.AsSpan(i)));
        byte[] frame = UdpFrame();
        frame[23] = 6;
        System.Net.IPAddress.Parse(source).GetAddressBytes().CopyTo(frame, 26);
        System.Net.IPAddress.Parse(destination).GetAddressBytes().CopyTo(frame, 30);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(34), from);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(36), to);
        _m.Write(0x5818, 2 | 1u << 16 | 1u << 17);
        _m.Send(frame, 0);
        Assert.Equal((withPorts, 1u), ((uint)(_m.Get(ReceiveDescriptor(0, 0)).First >> 32), (uint)_m.Get(ReceiveDescriptor(0, 0)).First & 15));
        _m.Write(0x5818, 2 | 1u << 17);
        _m.Send(frame, 1);
        Assert.Equal((addresses, 2u), ((uint)(_m.Get(ReceiveDescriptor(0, 1)).First >> 32), (uint)_m.Get(ReceiveDescriptor(0, 1)).First & 15));
        // RETA sends this hash to queue 3, which is not enabled.
        _m.Write(0x5c00 + (addresses & 0x7c), 0x0303_0303);
        _m.Send(frame, 2);
        Assert.Equal(2u, _m.Read(0xc010));
    }

    [Fact]
    public void Filters_decide_what_is_received()
    {
        _m.Start(receive: 0x0400_0042);
        byte[] frame = Frame(60);
        frame[5] ^= 1;
        _m.Send(frame, 0); // another station
        frame.AsSpan(0, 6).Fill(0xff);
        _m.Send(frame, 1); // a broadcast that is not wanted
        ((byte[])[0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb]).CopyTo(frame, 0);
        _m.Send(frame, 2); // a multicast that is not listed
        Assert.Equal(0u, _m.Read(0xc010));
        // Bits 47:36 of the address are 0xfb0.
        _m.Write(0x5200 + (4 * (0xfb0 >> 5)), 1u << (0xfb0 & 31));
        _m.Send(frame, 3);
        Assert.Equal(1u, _m.Read(0xc010));
        _m.Write(0x100, 0x0400_804a);
        frame.AsSpan(0, 6).Fill(0xff);
        _m.Send(frame, 4);
        _m.Send(Frame(60), 5);
        Assert.Equal(3u, _m.Read(0xc010));
    }

    [Fact]
    public void A_DMA_that_is_refused_stops_the_queue_until_it_is_enabled_anew()
    {
        _m.Start();
        _m.Put(TransmitDescriptor(0, 0), 0x5000_0000, 60u | 3u << 20 | 0x2b00_0000u);
        _m.Write(0xe018, 1);
        Assert.Equal(0u, _m.Read(0xe010));
        _m.Send(Frame(60), 0);
        Assert.Equal(0u, _m.Read(0xe010));
        _m.Write(0xe028, 0);
        _m.Write(0xe028, 1 << 25);
        Assert.Equal(1u, _m.Read(0xe010));
        Assert.Equal(1u, _m.Read(0xc010));
    }

    [Fact]
    public void A_packet_allocates_nothing()
    {
        // Legacy receive descriptors keep their buffer, so the rings go round without anybody's help.
        _m.Start(split: 0);
        for (uint i = 0; i < Entries; i++)
            _m.Send(Frame(1000), i);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (uint i = 0; i < 1000; i++)
        {
            _m.Write(0xc018, i % Entries);
            _m.Write(0xe018, (i + 1) % Entries);
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        Assert.InRange(_m.Read(0x4074), 1000u, 1010u);
    }

    [Fact]
    public void What_is_not_modelled_is_noted()
    {
        _m.Start();
        _m.Write(0x1_8000, 1);
        Assert.Contains(_m.Igb.Notes, note => note.Contains("0x18000", StringComparison.Ordinal));
    }

    private static byte[] UdpFrame()
    {
        byte[] frame = Frame(100, 0x0800, 7);
        ((byte[])[0x45, 0, 0, 86, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0x56, 0x78, 0, 66, 0, 0]).CopyTo(frame, 14);
        return frame;
    }

    private static uint Sum(ReadOnlySpan<byte> bytes, uint sum)
    {
        for (int i = 0; i < bytes.Length; i += 2)
            sum += (uint)(bytes[i] << 8 | (i + 1 < bytes.Length ? bytes[i + 1] : 0));
        while (sum >> 16 != 0)
            sum = (sum & 0xffff) + (sum >> 16);
        return sum;
    }
}
