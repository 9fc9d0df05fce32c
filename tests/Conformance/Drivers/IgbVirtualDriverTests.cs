using IgbDriver;
using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;
using Xunit;

namespace Conformance.Drivers;

/// <summary>
/// The sample driver of virtual functions: two of them, the host's igb on the physical function between them, on the simulated 82576 and on QEMU's.
/// </summary>
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

    [Fact]
    public void What_the_physical_function_says_of_itself_is_no_answer()
    {
        TestHost.Need(_t.Machine is not null, "the physical function's side is written by the test: the machine must be simulated");
        Noticing noticing = new(_t);
        using IommuHost host = IommuHost.Over(noticing);
        _ = _t.BindVfio(First);
        using IgbVirtualDevice device = new(host, PciAddress.Parse(First));
        Assert.True(device.IsLinkUp);
        Assert.Equal(0, noticing.Left);
    }

    /// <summary>The link comes up, which the physical function's driver tells all virtual ones, just before a virtual one asks.</summary>
    private sealed class Noticing(TestHost t) : PassThroughKernel(t.Kernel), IHost
    {
        private const ulong Mailbox = 0x0c40, MailboxMemory = 0x0800, PhysicalMailbox = 0x0c00;
        private const uint Sent = 1, Notice = 0x0100;

        /// <summary>Questions that are still to be disturbed.</summary>
        public int Left { get; private set; } = 3;

        public HostKind Kind => t.Host.Kind;

        public string Description => t.Host.Description;

        public IKernel Kernel => this;

        public ISysfs Sysfs => t.Sysfs;

        public void Dispose()
        {
        }

        public override unsafe nint Pwrite(int fd, nint buffer, nuint count, long offset)
        {
            // SAFETY: the caller's buffer has count bytes.
            if (Left != 0 && ((ulong)offset & 0xffff) == Mailbox && count == 4 && *(uint*)buffer == Sent)
            {
                Left--;
                IommuFd.HwSim.Devices.PciDevice controller = t.Machine!.Device("0000:01:00.0")!;
                controller.WriteBar(0, MailboxMemory, 4, Notice);
                controller.WriteBar(0, PhysicalMailbox, 4, Sent);
                return (nint)count;
            }

            return base.Pwrite(fd, buffer, count, offset);
        }
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
