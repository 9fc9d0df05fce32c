using HwSim.Tests.Kernel.Load;
using IommuFd.HwSim;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Uapi = IommuFd.Native.Uapi.Iommufd;
using Xunit;
using static HwSim.Tests.Kernel.Load.SeamCalls;
using static IommuFd.Native.Errno;

namespace HwSim.Tests.Kernel;

/// <summary>
/// Commands that cannot take back what they did when their answer cannot be written, one by one, as Linux leaves it. Every other command takes it
/// back: the conformance cases run with every failure for that (Conformance.OtherMachineTests).
/// </summary>
public sealed unsafe class FailNthTests : IDisposable
{
    private const ulong Iova = 0x1000_0000;
    private readonly FailNth _faults = new();
    private readonly SimulatedHost _host;
    private readonly SeamCalls _c;
    private readonly int _iommufd;
    private readonly uint _ioas;

    public FailNthTests()
    {
        _host = new SimulatedHost(Topology.ByName("intel"), faults: _faults);
        _c = new SeamCalls(_host);
        _iommufd = _c.OpenIommu();
        _ioas = _c.IoasAlloc(_iommufd);
    }

    public void Dispose() => _host.Dispose();

    [Fact]
    public void A_mapping_whose_answer_is_lost_is_there()
    {
        ulong iova = Iova;
        nint memory = _c.Pages(1);
        Assert.Equal(-EFAULT, Fails(3, () => _c.Map(_iommufd, _ioas, memory, Page, ref iova)));
        iova = Iova;
        Assert.Equal(-EEXIST, _c.Map(_iommufd, _ioas, memory, Page, ref iova));
    }

    [Fact]
    public void An_unmap_whose_answer_is_lost_has_unmapped()
    {
        ulong iova = Iova;
        Ok(_c.Map(_iommufd, _ioas, _c.Pages(1), Page, ref iova));
        Assert.Equal(-EFAULT, Fails(3, () => _c.Unmap(_iommufd, _ioas, Iova, Page, out _)));
        Assert.Equal(-ENOENT, _c.Unmap(_iommufd, _ioas, Iova, Page, out _));
    }

    [Fact]
    public void An_attach_whose_answer_is_lost_leaves_the_device_detached()
    {
        _c.BindToVfio(Edu);
        int device = _c.OpenDevice(Edu);
        _ = _c.Bind(device, _iommufd);
        Ok(_c.Attach(device, _ioas));
        uint second = _c.IoasAlloc(_iommufd);

        // Between the argument and the answer there is only memory for tables: without it the device stays where it is.
        int n = 2;
        for (int result; (result = Fails(n, () => _c.Attach(device, second))) != -EFAULT; n++)
        {
            Assert.Equal(-ENOMEM, result);
            Assert.Equal(-EBUSY, _c.Destroy(_iommufd, _ioas));
        }

        Ok(_c.Destroy(_iommufd, _ioas));
        Ok(_c.Destroy(_iommufd, second));
    }

    [Fact]
    public void A_migration_state_whose_answer_is_lost_is_entered_and_leaves_no_descriptor()
    {
        int device = Mtty();
        Ok(SetState(device, 1));
        string before = _host.DescribeHoldings();
        Assert.Equal(-EFAULT, Fails(3, () => SetState(device, 3)));
        Assert.Equal(before, _host.DescribeHoldings());
        Assert.Equal(3u, State(device));
    }

    [Fact]
    public void A_migration_state_without_a_descriptor_for_its_stream_is_entered()
    {
        int device = Mtty();
        Ok(SetState(device, 1));
        string before = _host.DescribeHoldings();

        // Head, payload, then the new descriptor.
        Assert.Equal(-EMFILE, Fails(3, () => SetState(device, 3), sparesAnswers: true));
        Assert.Equal(before, _host.DescribeHoldings());
        Assert.Equal(3u, State(device));
    }

    // The n-th thing that can fail in the call fails.
    private int Fails(int n, Func<int> call, bool sparesAnswers = false)
    {
        (_faults.SparesAnswers, _faults.Left) = (sparesAnswers, n);
        int result = call();
        Assert.Equal(0, _faults.Left);
        _faults.Left = 0;
        return result;
    }

    private int Mtty()
    {
        string name = Guid.NewGuid().ToString("D");
        Ok(_host.Sysfs.WriteText("/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create", name));
        Ok(_host.Sysfs.List($"/sys/bus/mdev/devices/{name}/vfio-dev", out string[] names));
        int device = Ok(_c.Kernel.Open($"/dev/vfio/devices/{names[0]}", Libc.O_RDWR, 0));
        _ = _c.Bind(device, _iommufd);
        return device;
    }

    private int SetState(int device, uint state) => Feature(device, Vfio.VFIO_DEVICE_FEATURE_SET, state, out _);

    private uint State(int device)
    {
        Ok(Feature(device, Vfio.VFIO_DEVICE_FEATURE_GET, 0, out uint state));
        return state;
    }

    private int Feature(int device, uint operation, uint state, out uint found)
    {
        uint* argument = stackalloc uint[4];
        (argument[0], argument[1], argument[2], argument[3]) = (16, Vfio.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | operation, state, uint.MaxValue);
        int result = _c.Kernel.Ioctl(device, Vfio.VFIO_DEVICE_FEATURE, (nint)argument);
        found = argument[2];
        return result;
    }
}
