using HwSim.Tests.Kernel.Load;
using IommuFd.HwSim;
using IommuFd.HwSim.Kernel;
using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static HwSim.Tests.Kernel.Load.SeamCalls;
using static IommuFd.Native.Errno;

namespace HwSim.Tests.Kernel;

/// <summary>
/// Interrupt messages of devices behind an SMMUv3 (IOMMU_RESV_SW_MSI): the kernel maps the page of the ITS's register into the device's domain, at
/// the window that it keeps from the user, and the messages are translated like any other write.
/// </summary>
public sealed unsafe class SwMsiTests : IDisposable
{
    private const ulong Window = 0x800_0000, Register = GicIts.Translater, Page0 = Register & ~0xfffUL;
    private readonly FailNth _faults = new();
    private readonly SimulatedHost _host;
    private readonly SeamCalls _c;
    private readonly int _device, _iommufd, _eventfd;
    private readonly uint _id;

    public SwMsiTests()
    {
        _host = new SimulatedHost(Topology.ByName("arm-smmuv3"), faults: _faults);
        _c = new SeamCalls(_host);
        _c.BindToVfio(Edu);
        (_device, _iommufd, _eventfd) = (_c.OpenDevice(Edu), _c.OpenIommu(), Ok(_c.Kernel.EventFd(0, Libc.EFD_NONBLOCK)));
        _id = _c.Bind(_device, _iommufd);
        _c.WriteRegion(_device, Vfio.VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 6);
    }

    public void Dispose() => _host.Dispose();

    [Fact]
    public void MSI_of_a_device_whose_DMA_is_blocked_is_ENOSPC()
    {
        Assert.Equal(-ENOSPC, SetMsi(_device, _eventfd));
        uint ioas = Attach();
        Ok(SetMsi(_device, _eventfd));
        Assert.Equal(Register, Physical(Edu, Window + 0x40));
        Ok(_c.Attach(_device, ioas));
    }

    [Fact]
    public void The_page_is_installed_when_MSI_is_enabled_and_the_message_reaches_the_doorbell()
    {
        Attach();
        Assert.Equal(0UL, Physical(Edu, Window));
        Ok(SetMsi(_device, _eventfd));
        Assert.Equal(Page0, Physical(Edu, Window));
        Assert.Equal(0UL, Physical(Edu, Window + Page));
        Assert.Equal((Window + 0x40, 0u), Message(Edu));
        Assert.Equal(1UL, Raise());
    }

    [Fact]
    public void The_window_is_the_kernels()
    {
        uint ioas = Attach();
        ulong iova = Window;
        Assert.Equal(-EINVAL, _c.Map(_iommufd, ioas, _c.Pages(1), Page, ref iova));

        // Unmapping everything is unmapping what the user mapped.
        Ok(SetMsi(_device, _eventfd));
        iova = 0x1000;
        Ok(_c.Map(_iommufd, ioas, _c.Pages(1), Page, ref iova));
        Ok(_c.Unmap(_iommufd, ioas, 0, ulong.MaxValue, out ulong unmapped));
        Assert.Equal(Page, unmapped);
        Assert.Equal(1UL, Raise());
    }

    [Fact]
    public void The_devices_own_DMA_reaches_the_doorbell_too()
    {
        Attach();
        Ok(SetMsi(_device, _eventfd));
        _c.WriteRegion(_device, 0, 0x40000, 4, 0);
        _c.Dma(_device, Window + 0x40, 4, toMemory: true);
        Assert.Equal(1UL, Signals(_eventfd));

        // An event that nobody has, and a place that is no register.
        _c.Dma(_device, Window + 0x44, 4, toMemory: true);
        Assert.Equal(0UL, Signals(_eventfd));
    }

    [Fact]
    public void A_replaced_table_has_the_pages_that_the_group_requires()
    {
        uint first = Attach();
        Ok(SetMsi(_device, _eventfd));
        uint other = _c.IoasAlloc(_iommufd);
        Ok(_c.HwptAlloc(_iommufd, _id, other, 0, out uint hwpt));
        Ok(_c.Attach(_device, hwpt));
        Assert.Equal(Page0, Physical(Edu, Window));
        Assert.Equal(1UL, Raise());
        Ok(_c.HwptAlloc(_iommufd, _id, first, 0, out uint sibling));
        Ok(_c.Attach(_device, sibling));
        Assert.Equal(1UL, Raise());
    }

    [Fact]
    public void A_detached_device_s_messages_are_refused_and_the_next_table_has_the_page_from_the_start()
    {
        uint ioas = Attach();
        Ok(SetMsi(_device, _eventfd));
        Ok(_c.Detach(_device));
        Assert.Equal(0UL, Raise());
        Ok(_c.Attach(_device, ioas));
        Assert.Equal(Page0, Physical(Edu, Window));
        Assert.Equal(1UL, Raise());
    }

    [Fact]
    public void The_page_stays_when_MSI_is_disabled_and_its_event_does_not()
    {
        Attach();
        Ok(SetMsi(_device, _eventfd));
        Ok(SetMsi(_device));
        Assert.Equal(Page0, Physical(Edu, Window));
        _c.WriteRegion(_device, 0, 0x40000, 4, 0);
        _c.Dma(_device, Window + 0x40, 4, toMemory: true);
        Assert.Equal(0UL, Signals(_eventfd));
        Ok(SetMsi(_device, _eventfd));
        Assert.Equal(1UL, Raise());
    }

    [Fact]
    public void The_address_is_the_same_in_all_tables_of_the_file()
    {
        Attach();
        Ok(SetMsi(_device, _eventfd));
        _c.BindToVfio(Nvme);
        int nvme = _c.OpenDevice(Nvme);
        _c.Bind(nvme, _iommufd);
        Ok(_c.Attach(nvme, _c.IoasAlloc(_iommufd)));
        Assert.Equal(0UL, Physical(Nvme, Window));
        Ok(_c.SetIrqs(nvme, Vfio.VFIO_IRQ_SET_DATA_EVENTFD | Vfio.VFIO_IRQ_SET_ACTION_TRIGGER, 1, _eventfd));
        Assert.Equal(Page0, Physical(Nvme, Window));
    }

    [Fact]
    public void A_table_that_has_no_room_for_the_page_is_ENOSPC_for_MSI_and_ENOMEM_for_attach()
    {
        uint ioas = Attach();
        int failures = 0;
        for (int n = 1; ; n++)
        {
            _faults.Left = n;
            int result = SetMsi(_device, _eventfd);
            bool isDone = _faults.Left != 0;
            _faults.Left = 0;
            if (isDone)
            {
                Ok(result);
                break;
            }

            Assert.True(result is -ENOSPC or -EFAULT or -ENOMEM or -EMFILE, Name(-result));
            failures += result == -ENOSPC ? 1 : 0;
            Assert.True(result != -ENOSPC || Physical(Edu, Window) == 0);
        }

        // Of the tables of three levels one is kept from the second failure.
        Assert.Equal(2, failures);
        uint empty = _c.IoasAlloc(_iommufd);
        Ok(_c.HwptAlloc(_iommufd, _id, empty, 0, out uint hwpt));
        _faults.Left = 3;
        Assert.Equal(-ENOMEM, _c.Attach(_device, hwpt));
        _faults.Left = 0;
        Assert.Equal(1UL, Raise());
        Ok(_c.Attach(_device, hwpt));
        Assert.Equal(1UL, Raise());
        Ok(_c.Destroy(_iommufd, ioas));
    }

    [Fact]
    public void A_containers_domain_has_a_window_of_its_own()
    {
        Ok(_c.Kernel.Close(_device));
        int container = Ok(_c.Kernel.Open("/dev/vfio/vfio", Libc.O_RDWR, 0));
        Ok(_host.Sysfs.ReadLink(SeamCalls.Path(Edu, "iommu_group"), out string link));
        int group = Ok(_c.Kernel.Open("/dev/vfio/" + link[(link.LastIndexOf('/') + 1)..], Libc.O_RDWR, 0));
        Ok(_c.Ioctl(group, Vfio.VFIO_GROUP_SET_CONTAINER, ref container));
        Ok(_c.Kernel.Ioctl(container, Vfio.VFIO_SET_IOMMU, (nint)Vfio.VFIO_TYPE1v2_IOMMU));
        int device;
        fixed (byte* name = System.Text.Encoding.ASCII.GetBytes(Edu + "\0"))
        {
            device = Ok(_c.Kernel.Ioctl(group, Vfio.VFIO_GROUP_GET_DEVICE_FD, (nint)name));
        }

        _c.WriteRegion(device, Vfio.VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 6);
        Assert.Equal(0UL, Physical(Edu, Window));
        Ok(SetMsi(device, _eventfd));
        Assert.Equal(Page0, Physical(Edu, Window));
        _c.WriteRegion(device, 0, 0x60, 4, 1);
        Assert.Equal(1UL, Signals(_eventfd));
    }

    private uint Attach()
    {
        uint ioas = _c.IoasAlloc(_iommufd);
        Ok(_c.Attach(_device, ioas));
        return ioas;
    }

    private ulong Physical(string device, ulong iova) => _host.IommuDevice(device)!.Group!.Domain!.IovaToPhys(iova);

    private ulong Raise()
    {
        _c.WriteRegion(_device, 0, 0x60, 4, 1);
        _c.WriteRegion(_device, 0, 0x64, 4, 0xffffffff);
        return Signals(_eventfd);
    }

    private ulong Signals(int eventfd)
    {
        ulong count = 0;
        return _c.Kernel.Read(eventfd, (nint)(&count), 8) == 8 ? count : 0;
    }

    // What is programmed in the device's MSI capability.
    private (ulong Address, uint Data) Message(string address)
    {
        var device = _host.Device(address)!;
        int at = (int)device.ReadConfig(0x34, 1);
        while (device.ReadConfig(at, 1) != 5)
        {
            at = (int)device.ReadConfig(at + 1, 1);
        }

        return (device.ReadConfig(at + 4, 4) | ((ulong)device.ReadConfig(at + 8, 4) << 32), device.ReadConfig(at + 12, 2));
    }

    // One vector with this eventfd; none: disabled.
    private int SetMsi(int device, int? eventfd = null)
    {
        const uint trigger = Vfio.VFIO_IRQ_SET_ACTION_TRIGGER;
        byte* bytes = stackalloc byte[64];
        *(vfio_irq_set*)bytes = new vfio_irq_set
        {
            argsz = (uint)vfio_irq_set.data_offset + 4, index = Vfio.VFIO_PCI_MSI_IRQ_INDEX, count = eventfd is null ? 0u : 1,
            flags = trigger | (eventfd is null ? Vfio.VFIO_IRQ_SET_DATA_NONE : Vfio.VFIO_IRQ_SET_DATA_EVENTFD),
        };
        *(int*)(bytes + vfio_irq_set.data_offset) = eventfd ?? 0;
        return _c.Kernel.Ioctl(device, Vfio.VFIO_DEVICE_SET_IRQS, (nint)bytes);
    }
}
