using IgbDriver;
using IommuFd;
using IommuFd.Sysfs;
using Xunit;

namespace Conformance.Drivers;

/// <summary>The sample driver of virtual functions: two of them, the host's igb on the physical function between them, on the simulated 82576 and on QEMU's.</summary>
public sealed class IgbVirtualDriverTests : IDisposable
{
    private const string First = "0000:01:10.0", Second = "0000:01:10.2";
    private readonly TestHost _t = new();
    private readonly IommuHost _host;
    private readonly List<IgbVirtualDevice> _devices = [];
    private readonly byte[] _received = new byte[IgbPort.LargestFrame];

    public IgbVirtualDriverTests()
    {
        _host = IommuHost.Over(_t.Host);
        TestHost.Succeeds(_t.Write(TestHost.Path(_t.Nic, "sriov_numvfs"), "2"), "sriov_numvfs");
        if (_t.IsKernel)
        {
            // Linux's igb reads its mail while its interface is up.
            TestHost.Succeeds(_t.Sysfs.List(TestHost.Path(_t.Nic, "net"), out string[] names), "the network interface");
            TestHost.Succeeds(_t.Write(TestHost.Path(_t.Nic, $"net/{names[0]}/flags"), "0x1003"), "up");
        }
    }

    public void Dispose()
    {
        _devices.ForEach(static device => device.Dispose());
        _host.Dispose();
        _t.Unbind(First);
        _t.Unbind(Second);
        _ = _t.Write(TestHost.Path("0000:01:00.0", "sriov_numvfs"), "0");
        _t.Dispose();
    }

    private IgbVirtualDevice Open(string address)
    {
        IgbVirtualDevice device = new(_host, PciAddress.Parse(_t.BindVfio(address)));
        _devices.Add(device);
        return device;
    }

    [Fact]
    public async Task Two_virtual_functions_get_addresses_and_talk_through_the_switch()
    {
        IgbVirtualDevice a = Open(First), b = Open(Second);
        Assert.True(a.IsLinkUp && b.IsLinkUp);
        Assert.NotEqual(a.Mac, b.Mac);
        Assert.Equal(0, a.Mac.GetAddressBytes()[0] & 1);
        for (int i = 0; i < 200; i++)
        {
            a.Send(Frame(a, b.Mac.GetAddressBytes(), i));
            Assert.Equal(64, await b.ReceiveAsync(_received, TestContext.Current.CancellationToken));
            Assert.Equal(i, BitConverter.ToInt32(_received, 14));
            Assert.Equal(a.Mac.GetAddressBytes(), _received[6..12]);
            b.Send(Frame(b, a.Mac.GetAddressBytes(), ~i));
            Assert.Equal(64, await a.ReceiveAsync(_received, TestContext.Current.CancellationToken));
            Assert.Equal(~i, BitConverter.ToInt32(_received, 14));
        }

        a.Send(Frame(a, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 1));
        Assert.Equal(64, await b.ReceiveAsync(_received, TestContext.Current.CancellationToken));

        // DTXSWC.LLE is 0: a pool does not hear itself (section 8.14.6). QEMU 10.0 does not look at it.
        Assert.True(_t.IsKernel || a.TryReceive(_received) == 0);
    }

    private static byte[] Frame(IgbPort from, byte[] to, int number)
    {
        byte[] frame = new byte[64];
        to.CopyTo(frame, 0);
        from.Mac.GetAddressBytes().CopyTo(frame, 6);
        (frame[12], frame[13]) = (0x88, 0xb5);
        BitConverter.TryWriteBytes(frame.AsSpan(14), number);
        return frame;
    }
}
