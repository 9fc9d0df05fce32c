using IommuFd.HwSim.Devices.Igb;
using Xunit;
using static HwSim.Tests.Devices.IgbMachine;

namespace HwSim.Tests.Devices;

/// <summary>The controller's interrupts and virtual functions against the 82576 data sheet.</summary>
public sealed class IgbInterruptTests : IDisposable
{
    private readonly IgbMachine _m = new();

    public void Dispose() => _m.Dispose();

    private void UseVectors()
    {
        EnableMsix(_m.Igb);
        _m.Write(0x1514, 0x4000_0010);
        _m.Write(0x1700, 0x83_0081 | 0x8200); // queue 0: receive 1, transmit 2
        _m.Write(0x1740, 0x8400); // others 4
    }

    [Fact]
    public void IVAR_gives_each_queue_its_vector()
    {
        UseVectors();
        _m.Write(0x1524, 0x1ff);
        _m.Start();
        _m.Send(Frame(60));
        Assert.Equal([1, 2], _m.Messages);
        Assert.Equal(6u, _m.Read(0x1580));
        Assert.Equal(0u, _m.Read(0x1580));
    }

    [Fact]
    public void EIAC_clears_and_EIAM_masks_when_the_message_is_sent()
    {
        UseVectors();
        _m.Write(0x152c, 1);
        _m.Write(0x1530, 1);
        _m.Write(0x1524, 1);
        _m.Write(0x1520, 1);
        _m.Write(0x1520, 1);
        Assert.Equal([0], _m.Messages);
        Assert.Equal(0u, _m.Read(0x1524));
        _m.Write(0x1524, 1); // the second cause was kept
        Assert.Equal([0, 0], _m.Messages);
    }

    [Fact]
    public void A_cause_that_software_clears_sends_nothing_when_it_is_unmasked()
    {
        UseVectors();
        _m.Write(0x1520, 1);
        _m.Write(0x1580, ~0u);
        _m.Write(0x1524, 1);
        Assert.Empty(_m.Messages);
    }

    [Fact]
    public void The_link_has_the_vector_of_the_other_causes()
    {
        UseVectors();
        _m.Write(0x1524, 0x10);
        _m.Write(0x1508, 4);
        _m.Write(0, 1);
        Assert.Equal([4], _m.Messages);
        Assert.Equal(0x8000_0004u, _m.Read(0x1500));
        Assert.Equal(0u, _m.Read(0x1500));
    }

    [Fact]
    public void A_burst_is_one_message()
    {
        UseVectors();
        _m.Write(0x1524, 2);
        _m.Start();
        _m.Put(Payload, Frame(60));
        for (uint i = 0; i < 5; i++)
            _m.Put(TransmitDescriptor(0, i), Payload, 60u | 3u << 20 | 0x2b00_0000u);
        _m.Write(0xe018, 5);
        Assert.Equal([1], _m.Messages);
        Assert.Equal(5u, _m.Read(0xc010));
    }

    [Fact]
    public void Without_vectors_ICR_and_IMS_drive_the_line()
    {
        _m.Write(0x1508, 0x80);
        _m.Start();
        _m.Send(Frame(60));
        Assert.True(_m.Line);
        Assert.Equal(0x8000_0081u, _m.Read(0xc0));
        Assert.False(_m.Line);
        _m.Write(0x1504, 0x80);
        Assert.True(_m.Line);
        _m.Write(0x150c, 0x80);
        Assert.False(_m.Line);
    }

    [Fact]
    public void Mail_goes_to_the_physical_function_and_back()
    {
        IgbVirtualFunction vf = _m.AddVirtual();
        UseVectors();
        EnableMsix(vf);
        vf.WriteBar(0, 0x1740, 4, 0x82);
        vf.WriteBar(0, 0x1524, 4, 7);
        _m.Write(0x1524, 0x10);
        _m.Write(0x1508, 0x100);
        Assert.Equal(0x80ul, vf.ReadBar(0, 0xc40, 4)); // its reset is done
        Assert.Equal(0ul, vf.ReadBar(0, 0xc40, 4));

        vf.WriteBar(0, 0xc40, 4, 4);
        Assert.Equal(4ul, vf.ReadBar(0, 0xc40, 4)); // it holds the memory
        vf.WriteBar(0, 0x804, 4, 0x1234);
        _m.Write(0xc00, 8);
        Assert.Equal(4u, _m.Read(0xc00)); // so the physical function does not
        vf.WriteBar(0, 0xc40, 4, 1);
        Assert.Equal([4], _m.Messages);
        Assert.Equal(0x100u, _m.Read(0x1500) & 0x100);
        Assert.Equal(1u, _m.Read(0xc80));
        Assert.Equal(0x1234u, _m.Read(0x804));
        _m.Write(0xc80, 1);
        Assert.Equal(0u, _m.Read(0xc80));

        _m.Write(0xc00, 3);
        Assert.Equal([4, 102], _m.Messages);
        Assert.Equal(0x30ul, vf.ReadBar(0, 0xc40, 4));
        Assert.Equal(0ul, vf.ReadBar(0, 0xc40, 4));
    }

    [Fact]
    public void A_virtual_functions_reset_is_told_in_VFLRE()
    {
        _m.AddVirtual();
        IgbVirtualFunction vf = _m.AddVirtual();
        vf.WriteBar(0, 0x2800, 4, 0x1000);
        Assert.Equal(0x1000u, _m.Read(0xc040));
        vf.WriteBar(0, 0, 4, 1u << 26);
        Assert.Equal(2u, _m.Read(0xc88));
        Assert.Equal(0u, _m.Read(0xc040));
        Assert.Equal(2u, _m.Read(8) >> 14 & 15);
    }

    [Fact]
    public void The_switch_carries_frames_between_virtual_functions()
    {
        IgbVirtualFunction a = _m.AddVirtual(), b = _m.AddVirtual();
        _m.Write(0x100, 0x0400_8002);
        _m.Write(0x400, 0xa);
        _m.Write(0x5818, 3); // VMDq
        _m.Write(0x3500, 1u << 31); // loopback between pools
        _m.Write(0x5408, 0x0000_0002);
        _m.Write(0x540c, 0x8000_0000 | 0x0200 | 1u << 19); // 02:00:00:00:00:02 is pool 1
        _m.Write(0x5ad4, 0x0100_2600);
        _m.SetUpQueue(a, 0x2800, 0x3800, 0);
        _m.SetUpQueue(b, 0x2800, 0x3800, 1);
        EnableMsix(b);
        b.WriteBar(0, 0x1700, 4, 0x81);
        b.WriteBar(0, 0x1524, 4, 7);
        byte[] frame = Frame(60);
        ((byte[])[2, 0, 0, 0, 0, 2]).CopyTo(frame, 0);
        _m.Put(Payload, frame);
        _m.Put(TransmitDescriptor(0, 0), Payload, 60u | 3u << 20 | 0x2b00_0000u);
        a.WriteBar(0, 0x3818, 4, 1);
        Assert.Equal(frame, _m.Get(Buffer(1, 0), 60));
        Assert.Equal([101], _m.Messages);
        Assert.Equal((1ul, 1ul), (a.ReadBar(0, 0xf14, 4), b.ReadBar(0, 0xf10, 4)));
        Assert.Equal(0ul, a.ReadBar(0, 0x2810, 4));
    }
}
