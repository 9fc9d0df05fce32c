using IgbDriver;
using IommuFd;
using IommuFd.Sysfs;
using Xunit;

namespace Conformance.Drivers;

/// <summary>The sample driver on the simulated 82576 and on QEMU's, through the same source; what is sent comes back by loopback.</summary>
public sealed class IgbDriverTests : IDisposable
{
    private readonly TestHost _t = new();
    private readonly IommuHost _host;
    private readonly IgbDevice _igb;
    private readonly byte[] _received = new byte[IgbDevice.LargestFrame];

    public IgbDriverTests()
    {
        _host = IommuHost.Over(_t.Host);
        _igb = new IgbDevice(_host, PciAddress.Parse(_t.BindVfio(_t.Nic)), loopback: true);
    }

    public void Dispose()
    {
        _igb.Dispose();
        _host.Dispose();
        _t.Dispose();
    }

    [Fact]
    public void The_link_is_up_and_the_station_has_an_address()
    {
        Assert.True(_igb.IsLinkUp);
        byte[] mac = _igb.Mac.GetAddressBytes();
        Assert.Equal(0, mac[0] & 1);
        Assert.NotEqual(0, mac.Sum(b => b));
    }

    [Theory]
    [InlineData(60)]
    [InlineData(61)]
    [InlineData(512)]
    [InlineData(1024)]
    [InlineData(1514)]
    public void A_frame_comes_back_as_it_was_sent(int length)
    {
        byte[] frame = Frame(length, 1);
        _igb.Send(frame);
        Assert.Equal(length, Receive());
        Assert.Equal(frame, _received[..length]);
        Assert.Equal(0, _igb.TryReceive(_received));
    }

    [Fact]
    public void A_short_frame_is_padded_to_60_bytes()
    {
        _igb.Send(Frame(20, 1));
        Assert.Equal(60, Receive());
    }

    [Fact]
    public void A_frame_for_another_station_does_not_come_back_and_a_broadcast_does()
    {
        byte[] frame = Frame(60, 1);
        frame[5] ^= 1;
        _igb.Send(frame);
        frame.AsSpan(0, 6).Fill(0xff);
        _igb.Send(frame);
        Assert.Equal(60, Receive());
        Assert.Equal(0xff, _received[0]);
        Assert.Equal(0, _igb.TryReceive(_received));
    }

    [Fact]
    public void Ping_pong_by_polling_goes_round_the_rings()
    {
        for (int i = 0; i < 500; i++)
        {
            _igb.Send(Frame(64, i));
            Assert.Equal(64, Receive());
            Assert.Equal(i, BitConverter.ToInt32(_received, 14));
        }

        Assert.Equal(0u, _igb.ReadStatistics().NoBuffer);
    }

    [Fact]
    public async Task Ping_pong_by_interrupt_goes_round_the_rings()
    {
        for (int i = 0; i < 300; i++)
        {
            _igb.Send(Frame(64, i));
            Assert.Equal(64, await _igb.ReceiveAsync(_received, TestContext.Current.CancellationToken));
            Assert.Equal(i, BitConverter.ToInt32(_received, 14));
        }
    }

    [Fact]
    public void A_burst_arrives_in_order_and_is_counted()
    {
        _ = _igb.ReadStatistics();
        for (int i = 0; i < 100; i++)
        {
            _igb.Send(Frame(1000, i));
        }

        for (int i = 0; i < 100; i++)
        {
            Assert.Equal(1000, Receive());
            Assert.Equal(i, BitConverter.ToInt32(_received, 14));
        }

        Assert.Equal((100u, 100u, 0u), _igb.ReadStatistics());
    }

    [Fact]
    public void The_counters_are_cleared_by_reading()
    {
        TestHost.Need(_t.IsKernel || !_igb.HasMappedRegisters, "reading a simulated device's register in mapped memory has no effect on the device");
        _igb.Send(Frame(60, 1));
        Assert.Equal(60, Receive());
        Assert.Equal((1u, 1u, 0u), _igb.ReadStatistics());
        Assert.Equal((0u, 0u, 0u), _igb.ReadStatistics());
    }

    private byte[] Frame(int length, int number)
    {
        byte[] frame = new byte[length];
        new Random(number).NextBytes(frame);
        _igb.Mac.GetAddressBytes().CopyTo(frame, 0);
        _igb.Mac.GetAddressBytes().CopyTo(frame, 6);
        (frame[12], frame[13]) = (0x88, 0xb5);
        BitConverter.TryWriteBytes(frame.AsSpan(14), number);
        return frame;
    }

    private int Receive()
    {
        for (long end = Environment.TickCount64 + 5000; Environment.TickCount64 < end; Thread.Yield())
        {
            if (_igb.TryReceive(_received) is int length and > 0)
            {
                return length;
            }
        }

        return 0;
    }
}
