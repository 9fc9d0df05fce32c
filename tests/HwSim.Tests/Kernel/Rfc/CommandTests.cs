using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>The proposal's commands, one behaviour each.</summary>
public sealed unsafe class CommandTests : RfcTest
{
    [Theory]
    [InlineData(EXT_MAP_TYPE1V2, 1)]
    [InlineData(EXT_MAP_NEWTYPE, 0)]
    [InlineData(EXT_IOASID_NESTING, 1)]
    [InlineData(EXT_MULTIDEV_GROUP, 1)]
    [InlineData(EXT_DMA_NO_SNOOP, 1)]
    [InlineData(0, 0)]
    [InlineData(1000, 0)]
    [Trait("rfc", "CHECK_EXTENSION")]
    public void Check_extension_answers_1_or_0(uint extension, int answer) =>
        Assert.Equal(answer, _machine.Kernel.Ioctl(_iommu, IOMMU_CHECK_EXTENSION, (nint)extension));

    [Fact]
    [Trait("rfc", "GET_INFO")]
    [Trait("rfc", "1.2-cookie")]
    public void Device_get_info_reports_page_sizes_width_and_permitted_ranges_by_cookie()
    {
        _machine.OpenBound(RfcMachine.Edu, _iommu, 0xc0ffee);
        Assert.Equal(0, _machine.GetInfo(_iommu, 0xc0ffee, out iommu_device_info info));
        Assert.Equal(IOMMU_DEVICE_INFO_ENFORCE_SNOOP | IOMMU_DEVICE_INFO_PGSIZES | IOMMU_DEVICE_INFO_ADDR_WIDTH | IOMMU_DEVICE_INFO_CAPS, info.flags);
        Assert.Equal(0x4020_1000UL, info.pgsize_bitmap);
        Assert.Equal(48u, info.addr_width);
        Assert.Equal([(0UL, 0xfedf_ffffUL), (0xfef0_0000UL, (1UL << 48) - 1)], _machine.PermittedRanges(_iommu, 0xc0ffee));
    }

    [Fact]
    [Trait("rfc", "GET_INFO")]
    public void Device_get_info_tells_the_room_that_capabilities_need()
    {
        _machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        iommu_device_info info = new() { argsz = (uint)sizeof(iommu_device_info), dev_cookie = 1 };
        Assert.Equal(0, _machine.Ioctl(_iommu, IOMMU_DEVICE_GET_INFO, ref info));
        Assert.True(info.argsz > sizeof(iommu_device_info));
        Assert.Equal(0u, info.cap_offset);
        Assert.NotEqual(0u, info.flags & IOMMU_DEVICE_INFO_CAPS);
        info.argsz = (uint)sizeof(iommu_device_info) - 1;
        Assert.Equal(-Errno.EINVAL, _machine.Ioctl(_iommu, IOMMU_DEVICE_GET_INFO, ref info));
    }

    [Fact]
    [Trait("rfc", "ALLOC")]
    public void Alloc_gives_the_lowest_free_ioasid()
    {
        Assert.Equal(0, _machine.Alloc(_iommu));
        Assert.Equal(1, _machine.Alloc(_iommu));
        Assert.Equal(0, _machine.Free(_iommu, 0));
        Assert.Equal(0, _machine.Alloc(_iommu));
        Assert.Equal(0, _machine.Alloc(_machine.OpenIommu()));
    }

    [Fact]
    [Trait("rfc", "ALLOC")]
    public void Alloc_with_the_struct_of_September_2021_demands_enforced_snoop()
    {
        iommu_ioasid_alloc alloc = new() { argsz = (uint)sizeof(iommu_ioasid_alloc), flags = IOMMU_IOASID_ENFORCE_SNOOP,
            type = IOMMU_IOASID_TYPE_KERNEL_TYPE1V2, addr_width = 48 };
        Assert.Equal(0, _machine.Ioctl(_iommu, IOMMU_IOASID_ALLOC, ref alloc));
        alloc.flags = 0;
        Assert.Equal(-Errno.EINVAL, _machine.Ioctl(_iommu, IOMMU_IOASID_ALLOC, ref alloc));
    }

    [Fact]
    [Trait("rfc", "FREE")]
    public void Free_takes_the_address_of_an_ioasid()
    {
        int ioasid = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.Free(_iommu, ioasid));
        Assert.Equal(-Errno.EINVAL, _machine.Free(_iommu, ioasid));
    }

    [Fact]
    [Trait("rfc", "MAP")]
    public void Map_has_the_rules_of_type1v2()
    {
        int ioasid = _machine.Alloc(_iommu, width: 40);
        ulong memory = _machine.Memory(4 * Page);
        Assert.Equal(0, _machine.Map(_iommu, ioasid, 0x10000, memory, 2 * Page));
        Assert.Equal(-Errno.EEXIST, _machine.Map(_iommu, ioasid, 0x11000, memory, Page));
        Assert.Equal(-Errno.EINVAL, _machine.Map(_iommu, ioasid, 0x20000, memory, 0));
        Assert.Equal(-Errno.EINVAL, _machine.Map(_iommu, ioasid, 0x20000, memory, Page, flags: 0));
        Assert.Equal(-Errno.EINVAL, _machine.Map(_iommu, ioasid, 0x20000, memory, Page, flags: 8));
        Assert.Equal(-Errno.EINVAL, _machine.Map(_iommu, ioasid, 0x20100, memory, Page));
        Assert.Equal(-Errno.EINVAL, _machine.Map(_iommu, ioasid, 0x20000, memory, 100));
        Assert.Equal(-Errno.EOVERFLOW, _machine.Map(_iommu, ioasid, ulong.MaxValue - Page + 1, memory, 2 * Page));
        Assert.Equal(-Errno.EINVAL, _machine.Map(_iommu, ioasid, 1UL << 40, memory, Page));
    }

    [Fact]
    [Trait("rfc", "MAP")]
    public void Map_of_what_an_attached_device_cannot_use_is_EINVAL()
    {
        int ioasid = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.Attach(_machine.OpenBound(RfcMachine.Edu, _iommu, 1), _iommu, ioasid));
        Assert.Equal(-Errno.EINVAL, _machine.Map(_iommu, ioasid, 0xfee00000, _machine.Memory(Page), Page));
        int child = _machine.Alloc(_iommu, ioasid);
        Assert.Equal(0, _machine.Map(_iommu, child, 0xfee00000, 0, Page));
    }

    [Fact]
    [Trait("rfc", "UNMAP")]
    public void Unmap_takes_whole_mappings_and_reports_the_bytes()
    {
        int gpa = _machine.Alloc(_iommu), giova = _machine.Alloc(_iommu, gpa);
        foreach (int ioasid in new[] { gpa, giova })
        {
            ulong address = ioasid == gpa ? _machine.Memory(4 * Page) : 0x10000;
            Assert.Equal(0, _machine.Map(_iommu, ioasid, 0x10000, address, 2 * Page));
            Assert.Equal(0, _machine.Map(_iommu, ioasid, 0x12000, address + (2 * Page), 2 * Page));
            Assert.Equal(-Errno.EINVAL, _machine.Unmap(_iommu, ioasid, 0x10000, Page));
            Assert.Equal(-Errno.EINVAL, _machine.Unmap(_iommu, ioasid, 0x11000, 2 * Page));
            Assert.Equal(0, _machine.Unmap(_iommu, ioasid, 0x20000, Page));
            Assert.Equal(-Errno.EINVAL, _machine.Unmap(_iommu, ioasid, 0, 0));
            Assert.Equal((long)(4 * Page), _machine.Unmap(_iommu, ioasid, 0, 0x100000));
        }

        Assert.Equal(0, _machine.Map(_iommu, gpa, 0, _machine.Memory(Page), Page));
        Assert.Equal((long)Page, _machine.Unmap(_iommu, gpa, 0, 0, Vfio.VFIO_DMA_UNMAP_FLAG_ALL));
    }

    [Fact]
    [Trait("rfc", "BIND")]
    public void Bind_is_refused_for_a_device_in_a_container_or_bound_already()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        Assert.Equal(-Errno.EBUSY, _machine.Bind(device, _iommu, 2));
        Assert.Equal(-Errno.EBUSY, _machine.Bind(_machine.OpenDevice(RfcMachine.Edu), _machine.OpenIommu(), 3));

        _machine.BindVfio(RfcMachine.Nic);
        int group = RfcMachine.Succeeds(_machine.Kernel.Open($"/dev/vfio/{_machine.Group(RfcMachine.Nic).Id}", Libc.O_RDWR, 0));
        int container = RfcMachine.Succeeds(_machine.Kernel.Open("/dev/vfio/vfio", Libc.O_RDWR, 0));
        Assert.Equal(0, _machine.Ioctl(group, Vfio.VFIO_GROUP_SET_CONTAINER, ref container));
        Assert.Equal(-Errno.ENOTTY, _machine.Bind(_machine.OpenDevice(RfcMachine.Nic), _iommu, 4));
    }

    [Fact]
    [Trait("rfc", "ATTACH")]
    [Trait("rfc", "DETACH")]
    public void Attach_and_detach_name_the_file_that_the_device_is_bound_to()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), other = _machine.OpenIommu(), ioasid = _machine.Alloc(_iommu);
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, other, ioasid));
        Assert.Equal(0, _machine.Attach(device, _iommu, ioasid));
        Assert.Equal(-Errno.EINVAL, _machine.Detach(device, other, ioasid));
        Assert.Equal(0, _machine.Detach(device, _iommu, ioasid));
        Assert.Equal(-Errno.EINVAL, _machine.Detach(device, _iommu, ioasid));
    }

    [Fact]
    [Trait("rfc", "NUMBERS")]
    public void The_numbers_of_September_2021_bind_attach_and_detach_too()
    {
        int device = _machine.OpenDevice(RfcMachine.Edu), ioasid = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.Map(_iommu, ioasid, 0, _machine.Memory(Page, 6), Page));
        vfio_device_iommu_bind_data bind = new() { argsz = (uint)sizeof(vfio_device_iommu_bind_data), iommu_fd = _iommu, dev_cookie = 0x1234567890 };
        Assert.Equal(0, _machine.Ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, ref bind));
        Assert.Equal(0, _machine.GetInfo(_iommu, 0x1234567890, out _));
        vfio_device_attach_ioasid attach = new() { argsz = (uint)sizeof(vfio_device_attach_ioasid), iommu_fd = _iommu, ioasid = ioasid };
        Assert.Equal(0, _machine.Ioctl(device, VFIO_DEVICE_ATTACH_IOASID, ref attach));
        Assert.Equal(6UL, _machine.DmaRead(RfcMachine.Edu, 0));
        Assert.Equal(0, _machine.Ioctl(device, VFIO_DEVICE_DETACH_IOASID, ref attach));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0));
    }
}
