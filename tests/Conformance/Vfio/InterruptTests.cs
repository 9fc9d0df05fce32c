using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Vfio;

/// <summary>GET_IRQ_INFO and SET_IRQS.</summary>
public sealed class InterruptTests : IDisposable
{
    private const uint None = VFIO_IRQ_SET_DATA_NONE, Bool = VFIO_IRQ_SET_DATA_BOOL, Eventfd = VFIO_IRQ_SET_DATA_EVENTFD;
    private const uint Trigger = VFIO_IRQ_SET_ACTION_TRIGGER, Mask = VFIO_IRQ_SET_ACTION_MASK, Unmask = VFIO_IRQ_SET_ACTION_UNMASK;
    private const uint Intx = VFIO_PCI_INTX_IRQ_INDEX, Msi = VFIO_PCI_MSI_IRQ_INDEX, Msix = VFIO_PCI_MSIX_IRQ_INDEX;
    private readonly TestHost _t = new();

    public void Dispose() => _t.Dispose();

    private int Bound(string device)
    {
        int file = _t.OpenDevice(device), iommufd = _t.OpenIommu();
        _t.Bind(file, iommufd);

        // Where messages go through the IOMMU, none can be set up before the device has an address space.
        _t.Attach(file, _t.AllocIoas(iommufd));
        return file;
    }

    private int Edu()
    {
        int device = Bound(_t.Single);
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 6));

        // It has no reset: whatever an earlier user left asserted is raised and withdrawn while no kind of interrupt is enabled.
        Raise(device);
        Acknowledge(device);
        return device;
    }

    // The edu raises its interrupt when 0x60 is written and withdraws it when 0x64 is.
    private void Raise(int device) => Assert.Equal(4, _t.WriteRegion(device, 0, 0x60, 4, 1));

    private void Acknowledge(int device) => Assert.Equal(4, _t.WriteRegion(device, 0, 0x64, 4, 0xffffffff));

    [Theory]
    [InlineData(VFIO_PCI_INTX_IRQ_INDEX, 1u, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED)]
    [InlineData(VFIO_PCI_MSI_IRQ_INDEX, 1u, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE)]
    [InlineData(VFIO_PCI_MSIX_IRQ_INDEX, 0u, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE)]
    [InlineData(VFIO_PCI_ERR_IRQ_INDEX, 1u, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE)]
    [InlineData(VFIO_PCI_REQ_IRQ_INDEX, 1u, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE)]
    public void The_kinds_of_interrupt_of_the_edu(uint index, uint count, uint flags)
    {
        vfio_irq_info info = _t.Irq(Bound(_t.Single), index);
        Assert.Equal(count, info.count);
        Assert.Equal(flags, info.flags);
    }

    [Fact]
    public void MSI_X_vectors_can_be_added_one_by_one()
    {
        vfio_irq_info info = _t.Irq(Bound(_t.Nvme), Msix);
        Assert.Equal(65u, info.count);
        Assert.Equal(VFIO_IRQ_INFO_EVENTFD, info.flags);
    }

    [Fact]
    public unsafe void A_kind_that_does_not_exist_is_EINVAL()
    {
        vfio_irq_info info = new() { argsz = (uint)sizeof(vfio_irq_info), index = VFIO_PCI_NUM_IRQS };
        TestHost.Fails(EINVAL, _t.Ioctl(Bound(_t.Single), VFIO_DEVICE_GET_IRQ_INFO, ref info));
    }

    [Fact]
    public void Irq_info_below_its_size_is_EINVAL()
    {
        vfio_irq_info info = new() { argsz = 15 };
        TestHost.Fails(EINVAL, _t.Ioctl(Bound(_t.Single), VFIO_DEVICE_GET_IRQ_INFO, ref info));
    }

    [Theory]
    [InlineData(Eventfd | Trigger, 5u, 0u, 1u, EINVAL)] // no such kind
    [InlineData(Eventfd | Trigger, Msix, 0u, 1u, EINVAL)] // the edu has no MSI-X
    [InlineData(Eventfd | Trigger, Msi, 1u, 1u, EINVAL)] // one vector only
    [InlineData(Eventfd | Trigger, Msi, 0u, 2u, EINVAL)]
    [InlineData(Trigger, Msi, 0u, 1u, EINVAL)] // no kind of data
    [InlineData(None | Bool | Trigger, Msi, 0u, 1u, EINVAL)] // two kinds
    [InlineData(Eventfd, Msi, 0u, 1u, ENOTTY)] // no action
    [InlineData(Eventfd | Trigger | Mask, Msi, 0u, 1u, ENOTTY)] // two actions
    [InlineData(None | Mask, Msi, 0u, 1u, ENOTTY)] // MSI cannot be masked
    [InlineData(None | Unmask, Msi, 0u, 1u, ENOTTY)]
    [InlineData(None | Mask, VFIO_PCI_ERR_IRQ_INDEX, 0u, 1u, ENOTTY)]
    [InlineData(None | Unmask, VFIO_PCI_REQ_IRQ_INDEX, 0u, 1u, ENOTTY)]
    [InlineData(64 | None | Trigger, Msi, 0u, 1u, EINVAL)] // unknown flag
    [InlineData(None | Trigger, Msi, 0u, 1u, EINVAL)] // not enabled
    [InlineData(None | Trigger, Msi, 0u, 0u, EINVAL)]
    [InlineData(None | Trigger, Intx, 0u, 1u, EINVAL)]
    [InlineData(None | Trigger, Intx, 0u, 0u, EINVAL)]
    [InlineData(None | Mask, Intx, 0u, 1u, EINVAL)]
    [InlineData(None | Unmask, Intx, 0u, 1u, EINVAL)]
    [InlineData(None | Trigger, VFIO_PCI_ERR_IRQ_INDEX, 0u, 1u, EINVAL)]
    [InlineData(None | Trigger, VFIO_PCI_REQ_IRQ_INDEX, 0u, 0u, EINVAL)]
    [InlineData(Eventfd | Trigger, VFIO_PCI_REQ_IRQ_INDEX, 0u, 0u, EINVAL)]
    [InlineData(Eventfd | Trigger, Msi, 0u, 0u, ERANGE)]
    public void Set_irqs_refuses(uint flags, uint index, uint start, uint count, int errno)
    {
        int device = Bound(_t.Single);
        int[] data = (flags & Eventfd) != 0 ? [_t.EventFd(), _t.EventFd()] : (flags & Bool) != 0 ? [1, 1] : [];
        TestHost.Fails(errno, _t.SetIrqs(device, flags, index, start, count, data));
    }

    [Fact]
    public void Data_shorter_than_the_count_is_EINVAL() => TestHost.Fails(EINVAL, _t.SetIrqs(Bound(_t.Single), Eventfd | Trigger, Msi, 0, 1));

    [Fact]
    public void A_descriptor_that_is_no_eventfd_is_EINVAL_and_a_closed_one_EBADF()
    {
        int device = Bound(_t.Single), closed = _t.EventFd();
        _t.Close(closed);
        TestHost.Fails(EINVAL, _t.SetIrqs(device, Eventfd | Trigger, Msi, 0, 1, device));
        TestHost.Fails(EBADF, _t.SetIrqs(device, Eventfd | Trigger, Msi, 0, 1, closed));
        TestHost.Fails(EBADF, _t.SetIrqs(device, Eventfd | Trigger, Intx, 0, 1, closed));
        TestHost.Fails(EBADF, _t.SetIrqs(device, Eventfd | Trigger, VFIO_PCI_REQ_IRQ_INDEX, 0, 1, closed));
    }

    [Fact]
    public void A_message_signals_the_eventfd()
    {
        int device = Edu(), eventfd = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Msi, 0, 1, eventfd), "SET_IRQS");
        Raise(device);
        Assert.Equal(1u, _t.Take(eventfd));
        Acknowledge(device);
        Raise(device);
        Assert.Equal(1u, _t.Take(eventfd));
    }

    [Fact]
    public void The_eventfd_can_be_closed_and_the_interrupt_stays()
    {
        int device = Edu(), eventfd = _t.EventFd();
        int copy = _t.Keep(TestHost.Succeeds(_t.Kernel.Fcntl(eventfd, Libc.F_DUPFD_CLOEXEC, 0), "dup"));
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Msi, 0, 1, eventfd), "SET_IRQS");
        _t.Close(eventfd);
        Raise(device);
        Assert.Equal(1u, _t.Take(copy));
    }

    [Fact]
    public void One_kind_at_a_time()
    {
        int device = Bound(_t.Single), eventfd = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Msi, 0, 1, eventfd), "SET_IRQS");
        TestHost.Fails(EINVAL, _t.SetIrqs(device, Eventfd | Trigger, Intx, 0, 1, eventfd));
        TestHost.Succeeds(_t.SetIrqs(device, None | Trigger, Msi, 0, 0), "disable");
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Intx, 0, 1, eventfd), "SET_IRQS");
    }

    [Fact]
    public void The_user_can_signal_a_vector()
    {
        int device = Bound(_t.Single), eventfd = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Msi, 0, 1, eventfd), "SET_IRQS");
        TestHost.Succeeds(_t.SetIrqs(device, None | Trigger, Msi, 0, 1), "trigger");
        Assert.Equal(1u, _t.Take(eventfd));
        TestHost.Succeeds(_t.SetIrqs(device, Bool | Trigger, Msi, 0, 1, 0), "no trigger");
        Assert.Equal(0u, _t.Take(eventfd, 0));
        TestHost.Succeeds(_t.SetIrqs(device, Bool | Trigger, Msi, 0, 1, 1), "trigger");
        Assert.Equal(1u, _t.Take(eventfd));
    }

    [Fact]
    public void Minus_one_takes_a_vector_away()
    {
        int device = Edu(), eventfd = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Msi, 0, 1, eventfd), "SET_IRQS");
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Msi, 0, 1, -1), "SET_IRQS");
        TestHost.Succeeds(_t.SetIrqs(device, None | Trigger, Msi, 0, 1), "trigger");
        Assert.Equal(0u, _t.Take(eventfd, 0));
    }

    [Fact]
    public void INTx_masks_itself_when_it_fires()
    {
        int device = Edu(), eventfd = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Intx, 0, 1, eventfd), "SET_IRQS");
        Raise(device);
        Assert.Equal(1u, _t.Take(eventfd));
        Acknowledge(device);
        Raise(device);
        Assert.Equal(0u, _t.Take(eventfd, 100));
    }

    [Fact]
    public void Unmasking_INTx_while_the_line_is_up_fires_again()
    {
        int device = Edu(), eventfd = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Intx, 0, 1, eventfd), "SET_IRQS");
        Raise(device);
        Assert.Equal(1u, _t.Take(eventfd));
        TestHost.Succeeds(_t.SetIrqs(device, None | Unmask, Intx, 0, 1), "unmask");
        Assert.Equal(1u, _t.Take(eventfd));
        Acknowledge(device);
        TestHost.Succeeds(_t.SetIrqs(device, None | Unmask, Intx, 0, 1), "unmask");
        Assert.Equal(0u, _t.Take(eventfd, 100));
        Raise(device);
        Assert.Equal(1u, _t.Take(eventfd));
    }

    [Fact]
    public void A_masked_INTx_fires_when_it_is_unmasked()
    {
        int device = Edu(), eventfd = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Intx, 0, 1, eventfd), "SET_IRQS");
        TestHost.Succeeds(_t.SetIrqs(device, None | Mask, Intx, 0, 1), "mask");
        Raise(device);
        Assert.Equal(0u, _t.Take(eventfd, 100));
        TestHost.Succeeds(_t.SetIrqs(device, None | Unmask, Intx, 0, 1), "unmask");
        Assert.Equal(1u, _t.Take(eventfd));
    }

    [Fact]
    public unsafe void An_eventfd_can_unmask_INTx()
    {
        int device = Edu(), eventfd = _t.EventFd(), unmask = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Intx, 0, 1, eventfd), "SET_IRQS");
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Unmask, Intx, 0, 1, unmask), "SET_IRQS");
        Raise(device);
        Assert.Equal(1u, _t.Take(eventfd));
        ulong one = 1;
        Assert.Equal(8, _t.Kernel.Write(unmask, (nint)(&one), 8));
        Assert.Equal(1u, _t.Take(eventfd));
        TestHost.Fails(EBUSY, _t.SetIrqs(device, Eventfd | Unmask, Intx, 0, 1, unmask));
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Unmask, Intx, 0, 1, -1), "SET_IRQS");
    }

    [Fact]
    public void An_eventfd_cannot_mask_INTx()
    {
        int device = Bound(_t.Single), eventfd = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Intx, 0, 1, eventfd), "SET_IRQS");
        TestHost.Fails(ENOTTY, _t.SetIrqs(device, Eventfd | Mask, Intx, 0, 1, eventfd));
    }

    [Fact]
    public void The_INTx_disable_bit_masks_like_the_ioctl()
    {
        int device = Edu(), eventfd = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Intx, 0, 1, eventfd), "SET_IRQS");
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 0x406));
        Assert.Equal(0x406u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 4, 2) & 0x406);
        Raise(device);
        Assert.Equal(0u, _t.Take(eventfd, 100));
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 6));
        Assert.Equal(1u, _t.Take(eventfd));
    }

    [Fact]
    public void The_REQ_eventfd_can_be_set_signalled_and_taken_away()
    {
        int device = Bound(_t.Single), eventfd = _t.EventFd();
        foreach (uint index in new[] { VFIO_PCI_REQ_IRQ_INDEX, VFIO_PCI_ERR_IRQ_INDEX })
        {
            TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, index, 0, 1, eventfd), "SET_IRQS");
            TestHost.Succeeds(_t.SetIrqs(device, None | Trigger, index, 0, 1), "trigger");
            Assert.Equal(1u, _t.Take(eventfd));
            TestHost.Succeeds(_t.SetIrqs(device, None | Trigger, index, 0, 0), "remove");
            TestHost.Fails(EINVAL, _t.SetIrqs(device, None | Trigger, index, 0, 1));
        }
    }

    [Fact]
    public void MSI_X_vectors_beyond_those_enabled_can_be_added()
    {
        int device = Bound(_t.Nvme), first = _t.EventFd(), later = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Msix, 0, 1, first), "SET_IRQS");
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Msix, 7, 1, later), "SET_IRQS");
        TestHost.Succeeds(_t.SetIrqs(device, None | Trigger, Msix, 0, 65), "trigger");
        Assert.Equal(1u, _t.Take(first));
        Assert.Equal(1u, _t.Take(later));
    }

    [Fact]
    public void Closing_the_device_takes_the_interrupts_away()
    {
        int device = Bound(_t.Single), eventfd = _t.EventFd();
        TestHost.Succeeds(_t.SetIrqs(device, Eventfd | Trigger, Msi, 0, 1, eventfd), "SET_IRQS");
        _t.Close(device);
        Assert.Equal(0u, _t.Take(eventfd, 0));
        int again = Edu();
        TestHost.Fails(EINVAL, _t.SetIrqs(again, None | Trigger, Msi, 0, 1));
    }
}
