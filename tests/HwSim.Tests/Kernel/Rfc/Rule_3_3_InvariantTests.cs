using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Section 3.3 of our notes: what always holds between binding and unbinding.</summary>
public sealed unsafe class Rule_3_3_InvariantTests : RfcTest
{
    [Fact]
    [Trait("rfc", "3.3-1")]
    public void Attach_and_the_query_by_cookie_need_a_bound_device()
    {
        int ioasid = _machine.Alloc(_iommu), device = _machine.OpenDevice(RfcMachine.Edu);
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, _iommu, ioasid));
        Assert.Equal(-Errno.EINVAL, _machine.GetInfo(_iommu, 5, out _));
        Assert.Equal(0, _machine.Bind(device, _iommu, 5));
        Assert.Equal(0, _machine.GetInfo(_iommu, 5, out _));
        Assert.Equal(0, _machine.Attach(device, _iommu, ioasid));
    }

    [Fact]
    [Trait("rfc", "3.3-2")]
    public void A_BAR_cannot_be_mapped_or_read_before_bind_succeeded()
    {
        uint word;
        int device = _machine.OpenDevice(RfcMachine.Edu);
        Assert.Equal(-Errno.ENODEV, _machine.Kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_SHARED, device, 0));
        Assert.Equal(-Errno.EINVAL, _machine.Bind(device, -1, 5));
        Assert.Equal(-Errno.ENODEV, _machine.Kernel.Pread(device, (nint)(&word), 4, 0));
        Assert.Equal(0, _machine.Bind(device, _iommu, 5));
        Assert.Equal(4, _machine.Kernel.Pread(device, (nint)(&word), 4, 0));
    }

    [Fact]
    [Trait("rfc", "3.3-3")]
    public void Unbind_waits_until_the_last_mapping_of_the_device_is_gone()
    {
        int device = _machine.OpenBound(RfcMachine.Framebuffer, _iommu, 5);
        vfio_region_info info = new() { argsz = (uint)sizeof(vfio_region_info), index = 0 };
        Assert.Equal(0, _machine.Ioctl(device, Vfio.VFIO_DEVICE_GET_REGION_INFO, ref info));
        nint bar = _machine.Kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_SHARED, device, (long)info.offset);
        Assert.False(bar is < 0 and > -4096);
        Assert.Equal(0, _machine.Kernel.Close(device));
        Assert.Same(_machine.Group(RfcMachine.Framebuffer).BlockingDomain, _machine.Group(RfcMachine.Framebuffer).Domain);
        Assert.Equal(0, _machine.Kernel.Munmap(bar, 4096));
        Assert.Same(_machine.Group(RfcMachine.Framebuffer).DefaultDomain, _machine.Group(RfcMachine.Framebuffer).Domain);
    }

    [Fact]
    [Trait("rfc", "3.3-4")]
    public void Bound_a_device_is_never_on_the_default_domain_whatever_it_is_attached_to()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 5);
        int first = _machine.Alloc(_iommu), second = _machine.Alloc(_iommu), child = _machine.Alloc(_iommu, second);
        (Func<int> Call, int Step)[] steps =
        [
            (() => _machine.Attach(device, _iommu, first), 1), (() => _machine.Detach(device, _iommu, first), 2),
            (() => _machine.Attach(device, _iommu, second), 3),
            (() => _machine.Attach(device, _iommu, child), 4), (() => _machine.Detach(device, _iommu, child), 5),
            (() => _machine.Detach(device, _iommu, second), 6),
        ];
        foreach ((Func<int> call, int step) in steps)
        {
            Assert.Equal((step, 0), (step, call()));
            Assert.NotSame(_machine.Group(RfcMachine.Edu).DefaultDomain, _machine.Group(RfcMachine.Edu).Domain);
        }
    }

    [Fact]
    [Trait("rfc", "3.3-4")]
    public void A_host_driver_does_not_get_the_default_domain_of_a_bound_device()
    {
        _machine.OpenBound(RfcMachine.PairA, _iommu, 5);
        Assert.Null(_machine.DmaRead(RfcMachine.PairB, 0));
    }

    [Fact]
    [Trait("rfc", "3.3-5")]
    public void Later_binds_in_a_group_simply_succeed()
    {
        _machine.BindVfio(RfcMachine.PairB);
        _machine.OpenBound(RfcMachine.PairA, _iommu, 1);
        var blocking = _machine.Group(RfcMachine.PairA).Domain;
        _machine.OpenBound(RfcMachine.PairB, _iommu, 2);
        Assert.Same(blocking, _machine.Group(RfcMachine.PairA).Domain);
    }

    [Fact]
    [Trait("rfc", "3.3-5")]
    public void A_group_that_another_user_has_is_EBUSY()
    {
        Assert.Equal(0, _machine.Group(RfcMachine.Edu).ClaimDmaOwner(new object()));
        Assert.Equal(-Errno.EBUSY, _machine.Bind(_machine.OpenDevice(RfcMachine.Edu), _iommu, 1));
    }

    [Fact]
    [Trait("rfc", "3.3-6")]
    public void Members_of_a_group_are_on_one_ioasid_or_on_none()
    {
        _machine.BindVfio(RfcMachine.PairB);
        int first = _machine.OpenBound(RfcMachine.PairA, _iommu, 1), second = _machine.OpenBound(RfcMachine.PairB, _iommu, 2);
        int one = _machine.Alloc(_iommu), other = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.Attach(first, _iommu, one));
        Assert.Equal(-Errno.EBUSY, _machine.Attach(second, _iommu, other));
        Assert.Equal(0, _machine.Attach(second, _iommu, one));
        Assert.Equal(0, _machine.Detach(first, _iommu, one));
        Assert.Equal(0, _machine.Detach(second, _iommu, one));
        Assert.Equal(0, _machine.Attach(second, _iommu, other));
    }

    [Fact]
    [Trait("rfc", "3.3-7")]
    public void A_host_driver_that_would_break_viability_is_refused()
    {
        _machine.OpenBound(RfcMachine.PairA, _iommu, 1);
        string path = $"/sys/bus/pci/devices/{RfcMachine.PairB}";
        RfcMachine.Succeeds(_machine.Host.Sysfs.WriteText(path + "/driver_override", "nvme"));
        _ = _machine.Host.Sysfs.WriteText("/sys/bus/pci/drivers_probe", RfcMachine.PairB);
        Assert.NotEqual(0, _machine.Host.Sysfs.Status(path + "/driver", out _));
    }

    [Fact]
    [Trait("rfc", "3.3-8")]
    public void A_wider_ioasid_than_the_device_has_addresses_is_refused_at_attach()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        Assert.Equal(0, _machine.GetInfo(_iommu, 1, out iommu_device_info info));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, _iommu, _machine.Alloc(_iommu, width: info.addr_width + 1)));
        Assert.Equal(0, _machine.Attach(device, _iommu, _machine.Alloc(_iommu, width: info.addr_width)));
    }

    [Fact]
    [Trait("rfc", "3.3-8")]
    public void Enforced_snoop_is_refused_at_attach_where_the_IOMMU_cannot_and_nothing_else_is()
    {
        using var machine = new RfcMachine(RfcMachine.WithoutSnoopControl());
        int iommu = machine.OpenIommu(), device = machine.OpenBound(RfcMachine.Edu, iommu, 1);
        Assert.Equal(-Errno.EINVAL, machine.Attach(device, iommu, machine.Alloc(iommu, flags: IOMMU_IOASID_ENFORCE_SNOOP)));
        int none = machine.Alloc(iommu, flags: 0);
        Assert.Equal(0, machine.Attach(device, iommu, none));
        Assert.Equal(0, machine.Detach(device, iommu, none));
        Assert.Equal(0, machine.Attach(device, iommu, machine.Alloc(iommu, flags: IOMMU_IOASID_SNOOP_AUTO)));
    }

    [Fact]
    [Trait("rfc", "3.3-12")]
    public void Map_and_unmap_need_no_attached_device()
    {
        int ioasid = _machine.Alloc(_iommu);
        ulong memory = _machine.Memory(2 * Page);
        Assert.Equal(0, _machine.Map(_iommu, ioasid, 0, memory, Page));
        Assert.Equal(0, _machine.Map(_iommu, ioasid, Page, memory + Page, Page));
        Assert.Equal((long)Page, _machine.Unmap(_iommu, ioasid, 0, Page));
        *(ulong*)(memory + Page) = 3;
        Assert.Equal(0, _machine.Attach(_machine.OpenBound(RfcMachine.Edu, _iommu, 1), _iommu, ioasid));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0));
        Assert.Equal(3UL, _machine.DmaRead(RfcMachine.Edu, Page));
    }

    [Fact]
    [Trait("rfc", "3.3-13")]
    public void Without_nesting_the_old_ioasid_is_detached_first()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), first = _machine.Alloc(_iommu), second = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.Attach(device, _iommu, first));
        Assert.Equal(-Errno.EBUSY, _machine.Attach(device, _iommu, second));
        Assert.Equal(0, _machine.Detach(device, _iommu, first));
        Assert.Equal(0, _machine.Attach(device, _iommu, second));
    }

    [Fact]
    [Trait("rfc", "3.3-13")]
    public void A_child_is_attached_while_the_parent_stays_and_is_what_translates()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), gpa = _machine.Alloc(_iommu), giova = _machine.Alloc(_iommu, gpa);
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x1000, _machine.Memory(Page, 9), Page));
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x2000, 0x1000, Page));
        Assert.Equal(0, _machine.Attach(device, _iommu, gpa));
        Assert.Equal(9UL, _machine.DmaRead(RfcMachine.Edu, 0x1000));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(9UL, _machine.DmaRead(RfcMachine.Edu, 0x2000));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x1000));
        Assert.Equal(0, _machine.Detach(device, _iommu, giova));
        Assert.Equal(9UL, _machine.DmaRead(RfcMachine.Edu, 0x1000));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x2000));
    }

    [Fact]
    [Trait("rfc", "3.3-14")]
    public void A_child_may_be_attached_without_its_parent()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), gpa = _machine.Alloc(_iommu), giova = _machine.Alloc(_iommu, gpa);
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x1000, _machine.Memory(Page, 9), Page));
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x2000, 0x1000, Page));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(9UL, _machine.DmaRead(RfcMachine.Edu, 0x2000));
    }
}
