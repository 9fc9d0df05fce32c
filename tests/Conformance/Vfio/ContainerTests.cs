using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Vfio;

/// <summary>The legacy path: a group in a container with the type 1 IOMMU.</summary>
public sealed unsafe class ContainerTests : IDisposable
{
    private const ulong Iova = 0x10000000;
    private readonly TestHost _t = new(needsIommufd: false);

    public void Dispose() => _t.Dispose();

    private int OpenContainer()
    {
        TestHost.Need(_t.Exists("/dev/vfio/vfio"), "there is no /dev/vfio/vfio");
        return _t.Open("/dev/vfio/vfio");
    }

    private int OpenGroup(string device)
    {
        _t.BindVfio(device);
        return _t.Open($"/dev/vfio/{_t.GroupOf(device)}");
    }

    private (int Container, int Group) Joined(string device)
    {
        int container = OpenContainer(), group = OpenGroup(device);
        int argument = container;
        TestHost.Succeeds(_t.Ioctl(group, VFIO_GROUP_SET_CONTAINER, ref argument), "SET_CONTAINER");
        return (container, group);
    }

    private int Type1(uint type = VFIO_TYPE1v2_IOMMU)
    {
        (int container, _) = Joined(_t.Single);
        TestHost.Succeeds(_t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)type), "SET_IOMMU");
        return container;
    }

    private int Device(int group, string name) => _t.Ioctl(group, VFIO_GROUP_GET_DEVICE_FD, System.Text.Encoding.ASCII.GetBytes(name + "\0"));

    private int Map(int container, nint address, ulong size, ulong iova, uint flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)
    {
        vfio_iommu_type1_dma_map map =
            new() { argsz = (uint)sizeof(vfio_iommu_type1_dma_map), flags = flags, vaddr = (ulong)address, iova = iova, size = size };
        return _t.Ioctl(container, VFIO_IOMMU_MAP_DMA, ref map);
    }

    private int Unmap(int container, ulong iova, ulong size, out ulong unmapped, uint flags = 0)
    {
        vfio_iommu_type1_dma_unmap unmap = new() { argsz = (uint)sizeof(vfio_iommu_type1_dma_unmap), flags = flags, iova = iova, size = size };
        int result = _t.Ioctl(container, VFIO_IOMMU_UNMAP_DMA, ref unmap);
        unmapped = unmap.size;
        return result;
    }

    [Fact]
    public void The_API_version_is_0() => Assert.Equal(0, _t.Kernel.Ioctl(OpenContainer(), VFIO_GET_API_VERSION, 0));

    [Theory]
    [InlineData(VFIO_TYPE1_IOMMU, 1)]
    [InlineData(VFIO_TYPE1v2_IOMMU, 1)]
    [InlineData(VFIO_UNMAP_ALL, 1)]
    [InlineData(VFIO_UPDATE_VADDR, 0)]
    [InlineData(VFIO_DMA_CC_IOMMU, 0)]
    [InlineData(VFIO_SPAPR_TCE_IOMMU, 0)]
    [InlineData(VFIO_NOIOMMU_IOMMU, 0)]
    [InlineData(99u, 0)]
    public void Extensions_of_a_container_without_IOMMU(uint extension, int expected) =>
        Assert.Equal(expected, _t.Kernel.Ioctl(OpenContainer(), VFIO_CHECK_EXTENSION, (nint)extension));

    [Theory]
    [InlineData(VFIO_TYPE1_IOMMU, 1)]
    [InlineData(VFIO_UPDATE_VADDR, 1)]
    [InlineData(VFIO_NOIOMMU_IOMMU, 0)]
    public void Extensions_of_a_container_with_type_1(uint extension, int expected) =>
        Assert.Equal(expected, _t.Kernel.Ioctl(Type1(), VFIO_CHECK_EXTENSION, (nint)extension));

    [Fact]
    public void Commands_of_the_IOMMU_before_it_is_chosen_are_EINVAL()
    {
        int container = OpenContainer();
        TestHost.Fails(EINVAL, Map(container, _t.Pages(1), 0x1000, Iova));
        TestHost.Fails(EINVAL, _t.Kernel.Ioctl(container, VFIO_IOMMU_GET_INFO, 0));
        TestHost.Fails(EINVAL, _t.Kernel.Ioctl(container, 0x3b01, 0));
    }

    [Fact]
    public void Set_iommu_without_a_group_is_EINVAL() =>
        TestHost.Fails(EINVAL, _t.Kernel.Ioctl(OpenContainer(), VFIO_SET_IOMMU, (nint)VFIO_TYPE1v2_IOMMU));

    [Theory]
    [InlineData(99u, ENODEV)]
    [InlineData(VFIO_SPAPR_TCE_IOMMU, ENODEV)]
    [InlineData(VFIO_NOIOMMU_IOMMU, ENODEV)]
    [InlineData(VFIO_UNMAP_ALL, EINVAL)]
    public void Set_iommu_to_another_type(uint type, int errno)
    {
        (int container, _) = Joined(_t.Single);
        TestHost.Fails(errno, _t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)type));
    }

    [Fact]
    public void Set_iommu_twice_is_EINVAL() => TestHost.Fails(EINVAL, _t.Kernel.Ioctl(Type1(), VFIO_SET_IOMMU, (nint)VFIO_TYPE1v2_IOMMU));

    [Fact]
    public void A_device_before_the_IOMMU_is_chosen_is_EINVAL()
    {
        (int container, int group) = Joined(_t.Single);
        TestHost.Fails(EINVAL, Device(group, _t.Single));
        TestHost.Succeeds(_t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)VFIO_TYPE1v2_IOMMU), "SET_IOMMU");
        int device = _t.Keep(TestHost.Succeeds(Device(group, _t.Single), "GET_DEVICE_FD"));
        Assert.Equal(9u, _t.Info(device).num_regions);
        TestHost.Fails(EBUSY, _t.Kernel.Ioctl(group, VFIO_GROUP_UNSET_CONTAINER, 0));
        _t.Close(device);
        TestHost.Succeeds(_t.Kernel.Ioctl(group, VFIO_GROUP_UNSET_CONTAINER, 0), "UNSET_CONTAINER");
    }

    [Fact]
    public void A_group_opens_a_device_more_than_once()
    {
        (int container, int group) = Joined(_t.Single);
        TestHost.Succeeds(_t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)VFIO_TYPE1v2_IOMMU), "SET_IOMMU");
        _t.Keep(TestHost.Succeeds(Device(group, _t.Single), "GET_DEVICE_FD"));
        _t.Keep(TestHost.Succeeds(Device(group, _t.Single), "GET_DEVICE_FD"));
    }

    [Fact]
    public void A_token_in_the_name_of_a_device_without_SR_IOV_is_EINVAL()
    {
        (int container, int group) = Joined(_t.Single);
        TestHost.Succeeds(_t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)VFIO_TYPE1v2_IOMMU), "SET_IOMMU");
        TestHost.Fails(EINVAL, Device(group, $"{_t.Single} vf_token={Guid.NewGuid():D}"));
        TestHost.Fails(EINVAL, Device(group, $"{_t.Single} nonsense"));
        TestHost.Fails(ENODEV, Device(group, _t.Single + "x"));
        _t.Keep(TestHost.Succeeds(Device(group, _t.Single + "  "), "blanks"));
    }

    [Fact]
    public void A_group_whose_member_has_a_DMA_driver_cannot_join()
    {
        _t.Unbind(_t.PairB);
        int group = OpenGroup(_t.PairA);
        TestHost.Succeeds(_t.Write(TestHost.Path(_t.PairB, "driver_override"), "\n"), "driver_override");
        int container = OpenContainer();
        TestHost.Succeeds(_t.Ioctl(group, VFIO_GROUP_SET_CONTAINER, ref container), "SET_CONTAINER");
    }

    [Fact]
    public void Two_groups_share_a_container()
    {
        (int container, _) = Joined(_t.Single);
        int other = OpenGroup(_t.Nvme), argument = container;
        TestHost.Succeeds(_t.Ioctl(other, VFIO_GROUP_SET_CONTAINER, ref argument), "SET_CONTAINER");
        TestHost.Succeeds(_t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)VFIO_TYPE1v2_IOMMU), "SET_IOMMU");
        _t.Keep(TestHost.Succeeds(Device(other, _t.Nvme), "GET_DEVICE_FD"));
        TestHost.Fails(ENODEV, Device(other, _t.Single));
    }

    [Fact]
    public void Map_and_unmap()
    {
        int container = Type1();
        nint memory = _t.Pages(4);
        TestHost.Succeeds(Map(container, memory, 0x4000, Iova), "MAP_DMA");
        Assert.Equal(0, Unmap(container, Iova, 0x4000, out ulong unmapped));
        Assert.Equal(0x4000u, unmapped);
        Assert.Equal(0, Unmap(container, Iova, 0x4000, out unmapped));
        Assert.Equal(0u, unmapped);
    }

    [Theory]
    [InlineData(0x1000ul, Iova + 0x800, 3u, EINVAL)]
    [InlineData(0x800ul, Iova, 3u, EINVAL)]
    [InlineData(0ul, Iova, 3u, EINVAL)]
    [InlineData(0x1000ul, Iova, 0u, EINVAL)]
    [InlineData(0x1000ul, Iova, 8u, EINVAL)]
    [InlineData(0x1000ul, Iova, 7u, EINVAL)]
    [InlineData(0x1000ul, Iova, 4u, ENOENT)]
    [InlineData(0x2000ul, ulong.MaxValue - 0xfff, 3u, EOVERFLOW)]
    public void Map_refuses(ulong size, ulong iova, uint flags, int errno) => TestHost.Fails(errno, Map(Type1(), _t.Pages(2), size, iova, flags));

    [Theory]
    [InlineData(0xfee00000ul)]
    [InlineData(1ul << 60)]
    public void Map_refuses_what_no_device_can_reach(ulong iova)
    {
        _t.NeedVtd();
        TestHost.Fails(EINVAL, Map(Type1(), _t.Pages(1), 0x1000, iova));
    }

    [Fact]
    public void Map_of_memory_that_is_not_there_is_EFAULT() => TestHost.Fails(EFAULT, Map(Type1(), 0x10000, 0x1000, Iova));

    [Fact]
    public void Map_over_a_mapping_is_EEXIST()
    {
        int container = Type1();
        nint memory = _t.Pages(4);
        TestHost.Succeeds(Map(container, memory, 0x2000, Iova), "MAP_DMA");
        TestHost.Fails(EEXIST, Map(container, memory, 0x1000, Iova));
        TestHost.Fails(EEXIST, Map(container, memory, 0x1000, Iova + 0x1000));
        TestHost.Fails(EEXIST, Map(container, memory, 0x4000, Iova - 0x1000));
        TestHost.Succeeds(Map(container, memory, 0x1000, Iova + 0x2000), "next to it");
    }

    [Fact]
    public void Version_2_never_cuts_a_mapping()
    {
        int container = Type1();
        TestHost.Succeeds(Map(container, _t.Pages(4), 0x4000, Iova), "MAP_DMA");
        TestHost.Fails(EINVAL, Unmap(container, Iova, 0x1000, out _));
        TestHost.Fails(EINVAL, Unmap(container, Iova + 0x1000, 0x3000, out _));
        Assert.Equal(0, Unmap(container, Iova - 0x1000, 0x8000, out ulong unmapped));
        Assert.Equal(0x4000u, unmapped);
    }

    [Fact]
    public void Version_1_unmaps_what_begins_in_the_range_whole()
    {
        int container = Type1(VFIO_TYPE1_IOMMU);
        TestHost.Succeeds(Map(container, _t.Pages(4), 0x4000, Iova), "MAP_DMA");
        Assert.Equal(0, Unmap(container, Iova + 0x1000, 0x1000, out ulong unmapped));
        Assert.Equal(0u, unmapped);
        Assert.Equal(0, Unmap(container, Iova, 0x1000, out unmapped));
        Assert.Equal(0x4000u, unmapped);
    }

    [Fact]
    public void Unmap_all()
    {
        int container = Type1();
        nint memory = _t.Pages(4);
        TestHost.Succeeds(Map(container, memory, 0x1000, Iova), "MAP_DMA");
        TestHost.Succeeds(Map(container, memory, 0x2000, Iova * 2), "MAP_DMA");
        TestHost.Fails(EINVAL, Unmap(container, Iova, 0, out _, VFIO_DMA_UNMAP_FLAG_ALL));
        Assert.Equal(0, Unmap(container, 0, 0, out ulong unmapped, VFIO_DMA_UNMAP_FLAG_ALL));
        Assert.Equal(0x3000u, unmapped);
    }

    [Theory]
    [InlineData(Iova, 0ul, 0u, EINVAL)]
    [InlineData(Iova + 1, 0x1000ul, 0u, EINVAL)]
    [InlineData(Iova, 0x1001ul, 0u, EINVAL)]
    [InlineData(ulong.MaxValue - 0xfff, 0x2000ul, 0u, EOVERFLOW)]
    [InlineData(Iova, 0x1000ul, 8u, EINVAL)]
    [InlineData(Iova, 0x1000ul, 1u, EINVAL)]
    [InlineData(0ul, 0ul, 3u, EINVAL)]
    public void Unmap_refuses(ulong iova, ulong size, uint flags, int errno) => TestHost.Fails(errno, Unmap(Type1(), iova, size, out _, flags));

    [Fact]
    public void A_virtual_address_can_be_taken_away_and_given_again()
    {
        int container = Type1();
        nint memory = _t.Pages(1);
        TestHost.Succeeds(Map(container, memory, 0x1000, Iova), "MAP_DMA");
        TestHost.Fails(EINVAL, Map(container, memory, 0x1000, Iova, VFIO_DMA_MAP_FLAG_VADDR));
        Assert.Equal(0, Unmap(container, Iova, 0x1000, out ulong unmapped, VFIO_DMA_UNMAP_FLAG_VADDR));
        Assert.Equal(0x1000u, unmapped);
        TestHost.Fails(EINVAL, Unmap(container, Iova, 0x1000, out _, VFIO_DMA_UNMAP_FLAG_VADDR));
        TestHost.Succeeds(Map(container, memory, 0x1000, Iova, VFIO_DMA_MAP_FLAG_VADDR), "MAP_DMA vaddr");
    }

    [Fact]
    public void Info_has_page_sizes_and_a_chain_of_capabilities()
    {
        _t.NeedPlainVtd();
        int container = Type1();
        byte[] info = new byte[256];
        BitConverter.TryWriteBytes(info, 24);
        TestHost.Succeeds(_t.Ioctl(container, VFIO_IOMMU_GET_INFO, info), "GET_INFO");
        int needed = BitConverter.ToInt32(info);
        Assert.InRange(needed, 25, 256);
        Assert.Equal(0, BitConverter.ToInt32(info, 16));
        TestHost.Succeeds(_t.Ioctl(container, VFIO_IOMMU_GET_INFO, info), "GET_INFO");
        Assert.Equal(VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS, BitConverter.ToUInt32(info, 4));
        Assert.Equal(0x1000u, BitConverter.ToUInt64(info, 8) & 0xfffff);
        var found = new List<(int Id, int At)>();
        for (int at = BitConverter.ToInt32(info, 16); at != 0; at = BitConverter.ToInt32(info, at + 4))
        {
            found.Add((BitConverter.ToUInt16(info, at), at));
        }

        Assert.Equal([2, 3, 1], found.Select(static c => c.Id));
        Assert.Equal(0x1000u, BitConverter.ToUInt64(info, found[0].At + 16));
        Assert.Equal(65535u, BitConverter.ToUInt32(info, found[1].At + 8));
        Assert.Equal(2u, BitConverter.ToUInt32(info, found[2].At + 8));
        Assert.Equal(0u, BitConverter.ToUInt64(info, found[2].At + 16));
        Assert.Equal(0xfedfffffu, BitConverter.ToUInt64(info, found[2].At + 24));
        Assert.Equal(0xfef00000u, BitConverter.ToUInt64(info, found[2].At + 32));
        Assert.Equal((1ul << 48) - 1, BitConverter.ToUInt64(info, found[2].At + 40));
        TestHost.Succeeds(Map(container, _t.Pages(1), 0x1000, Iova), "MAP_DMA");
        TestHost.Succeeds(_t.Ioctl(container, VFIO_IOMMU_GET_INFO, info), "GET_INFO");
        Assert.Equal(65534u, BitConverter.ToUInt32(info, found[1].At + 8));
    }

    [Fact]
    public void Mappings_are_limited_by_dma_entry_limit()
    {
        const string parameter = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";
        TestHost.Succeeds(_t.Write(parameter, "2"), "dma_entry_limit");
        try
        {
            int container = Type1();
            nint memory = _t.Pages(1);
            TestHost.Succeeds(Map(container, memory, 0x1000, Iova), "MAP_DMA");
            TestHost.Succeeds(Map(container, memory, 0x1000, Iova * 2), "MAP_DMA");
            TestHost.Fails(ENOSPC, Map(container, memory, 0x1000, Iova * 3));
            Assert.Equal(0, Unmap(container, Iova, 0x1000, out _));
            TestHost.Succeeds(Map(container, memory, 0x1000, Iova * 3), "MAP_DMA");
        }
        finally
        {
            TestHost.Succeeds(_t.Write(parameter, "65535"), "dma_entry_limit");
        }
    }

    [Fact]
    public void Dirty_tracking_is_not_for_version_1()
    {
        vfio_iommu_type1_dirty_bitmap dirty = new() { argsz = 8, flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START };
        TestHost.Fails(EACCES, _t.Ioctl(Type1(VFIO_TYPE1_IOMMU), VFIO_IOMMU_DIRTY_PAGES, ref dirty));
    }

    [Fact]
    public void Every_mapped_page_counts_as_dirty()
    {
        int container = Type1();
        TestHost.Succeeds(Map(container, _t.Pages(3), 0x3000, Iova + 0x5000), "MAP_DMA");
        vfio_iommu_type1_dirty_bitmap dirty = new() { argsz = 8, flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START | VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP };
        TestHost.Fails(EINVAL, _t.Ioctl(container, VFIO_IOMMU_DIRTY_PAGES, ref dirty));
        ulong bits = 0;
        byte[] get = new byte[8 + sizeof(vfio_iommu_type1_dirty_bitmap_get)];
        fixed (byte* pointer = get)
        {
            *(vfio_iommu_type1_dirty_bitmap*)pointer = new() { argsz = (uint)get.Length, flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP };
            *(vfio_iommu_type1_dirty_bitmap_get*)(pointer + 8) = new()
            {
                iova = Iova, size = 0x10000, bitmap = new vfio_bitmap { pgsize = 0x1000, size = 8, data = (ulong)&bits },
            };
        }

        TestHost.Fails(EINVAL, _t.Ioctl(container, VFIO_IOMMU_DIRTY_PAGES, get));
        dirty.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
        TestHost.Succeeds(_t.Ioctl(container, VFIO_IOMMU_DIRTY_PAGES, ref dirty), "START");
        TestHost.Succeeds(_t.Ioctl(container, VFIO_IOMMU_DIRTY_PAGES, get), "GET_BITMAP");
        Assert.Equal(0xe0ul, bits);
        dirty.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP;
        TestHost.Succeeds(_t.Ioctl(container, VFIO_IOMMU_DIRTY_PAGES, ref dirty), "STOP");
    }

    [Fact]
    public void Leaving_the_container_takes_the_mappings_away()
    {
        (int container, int group) = Joined(_t.Single);
        TestHost.Succeeds(_t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)VFIO_TYPE1v2_IOMMU), "SET_IOMMU");
        TestHost.Succeeds(Map(container, _t.Pages(1), 0x1000, Iova), "MAP_DMA");
        TestHost.Succeeds(_t.Kernel.Ioctl(group, VFIO_GROUP_UNSET_CONTAINER, 0), "UNSET_CONTAINER");
        TestHost.Fails(EINVAL, _t.Kernel.Ioctl(container, VFIO_IOMMU_GET_INFO, 0));
        int argument = container;
        TestHost.Succeeds(_t.Ioctl(group, VFIO_GROUP_SET_CONTAINER, ref argument), "SET_CONTAINER");
        TestHost.Succeeds(_t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)VFIO_TYPE1v2_IOMMU), "SET_IOMMU");
        Assert.Equal(0, Unmap(container, 0, 0, out ulong unmapped, VFIO_DMA_UNMAP_FLAG_ALL));
        Assert.Equal(0u, unmapped);
    }

    [Fact]
    public void Closing_the_container_first_is_fine()
    {
        (int container, int group) = Joined(_t.Single);
        TestHost.Succeeds(_t.Kernel.Ioctl(container, VFIO_SET_IOMMU, (nint)VFIO_TYPE1v2_IOMMU), "SET_IOMMU");
        int device = _t.Keep(TestHost.Succeeds(Device(group, _t.Single), "GET_DEVICE_FD"));
        _t.Close(container);
        _t.Close(group);
        Assert.Equal(9u, _t.Info(device).num_regions);
        TestHost.Fails(EBUSY, _t.Kernel.Open($"/dev/vfio/{_t.GroupOf(_t.Single)}", Libc.O_RDWR | Libc.O_CLOEXEC, 0));
        _t.Close(device);
        OpenGroup(_t.Single);
    }
}
