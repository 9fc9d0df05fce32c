using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Iommu;

/// <summary>The ioctls of a VFIO container on an iommufd.</summary>
public sealed unsafe class VfioCompatTests : IDisposable
{
    private const uint MAP_READ = 1, MAP_WRITE = 2, UNMAP_ALL = 2;

    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void The_address_space_is_chosen_read_and_cleared()
    {
        Fails(ENODEV, VfioIoas(0, 0, out _));
        Fails(ENOENT, VfioIoas(1, 9, out _));
        uint ioas = _c.IoasAlloc();
        Ok(VfioIoas(1, ioas, out _));
        Ok(VfioIoas(0, 0, out uint read));
        Assert.Equal(ioas, read);
        Ok(VfioIoas(2, 0, out _));
        Fails(ENODEV, VfioIoas(0, 0, out _));
        Fails(EOPNOTSUPP, VfioIoas(3, 0, out _));
        var cmd = new iommu_vfio_ioas { __reserved = 1 };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_VFIO_IOAS, ref cmd));
    }

    [Fact]
    public void Destroying_the_address_space_clears_it()
    {
        uint ioas = _c.IoasAlloc();
        Ok(VfioIoas(1, ioas, out _));
        Ok(_c.Destroy(ioas));
        Fails(ENODEV, VfioIoas(0, 0, out _));
        Fails(ENODEV, Map(0x10000, Page, 0));
    }

    [Fact]
    public void Version_and_extensions()
    {
        Assert.Equal(VFIO_API_VERSION, Value(VFIO_GET_API_VERSION, 0));
        foreach (uint there in new[] { VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU, VFIO_UNMAP_ALL, VFIO_NOIOMMU_IOMMU })
        {
            Assert.Equal(1, Value(VFIO_CHECK_EXTENSION, there));
        }

        foreach (uint missing in new[] { 0u, VFIO_SPAPR_TCE_IOMMU, VFIO_EEH, __VFIO_RESERVED_TYPE1_NESTING_IOMMU, VFIO_UPDATE_VADDR, 99u })
        {
            Assert.Equal(0, Value(VFIO_CHECK_EXTENSION, missing));
        }

        Fails(ENODEV, Value(VFIO_CHECK_EXTENSION, VFIO_DMA_CC_IOMMU));
        Ok(VfioIoas(1, _c.IoasAlloc(), out _));
        Assert.Equal(1, Value(VFIO_CHECK_EXTENSION, VFIO_DMA_CC_IOMMU));
    }

    [Fact]
    public void Cache_coherence_is_what_all_tables_have()
    {
        Start(out _);
        Assert.Equal(0, Value(VFIO_CHECK_EXTENSION, VFIO_DMA_CC_IOMMU));
    }

    [Fact]
    public void Set_iommu_takes_type_1_when_there_is_an_address_space()
    {
        Fails(ENODEV, Value(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
        Fails(ENODEV, Value(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
        Fails(EINVAL, Value(VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU));
        Fails(EINVAL, Value(VFIO_SET_IOMMU, 0));
        Ok(VfioIoas(1, _c.IoasAlloc(), out _));
        Ok(Value(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
        Ok(Value(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
        Ok(Value(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
    }

    [Fact]
    public void Ioctls_that_are_not_emulated_are_ENOTTY()
    {
        Fails(ENOTTY, Value(VFIO_IOMMU_DIRTY_PAGES, 0));
        Fails(ENOTTY, Value(VFIO_IOMMU_ENABLE, 0));
        Fails(ENOTTY, Value(VFIO_GROUP_GET_STATUS, 0));
    }

    [Fact]
    public void Map_and_unmap()
    {
        Start(out Mock mock);
        ulong va = (ulong)_c.Host.Pages(2);
        Ok(Map(va, 2 * Page, MockBase));
        Ok(_c.CheckMap(mock.Hwpt, MockBase, va, 2 * Page));
        Fails(EEXIST, Map(va, 2 * Page, MockBase));
        Fails(EINVAL, Map(va, 2 * Page, MockBase, 4));
        Fails(EINVAL, Map(va, 0, MockBase + 0x10000));
        Fails(EFAULT, Map(0x1000, Page, MockBase + 0x10000));
        Ok(Unmap(MockBase, 2 * Page, out ulong unmapped));
        Assert.Equal(2 * Page, unmapped);
        Ok(Unmap(MockBase, 2 * Page, out unmapped));
        Assert.Equal(0ul, unmapped);
        Fails(EINVAL, Unmap(MockBase, 0, out _));
    }

    [Fact]
    public void A_map_without_permissions_is_allowed_here()
    {
        Ok(VfioIoas(1, _c.IoasAlloc(), out _));
        Ok(Map((ulong)_c.Host.Pages(1), Page, MockBase, 0));
    }

    [Fact]
    public void Version_2_does_not_cut_areas()
    {
        Start(out _);
        Ok(Value(VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
        Ok(Map((ulong)_c.Host.Pages(4), 4 * Page, MockBase));
        Fails(ENOENT, Unmap(MockBase + Page, Page, out ulong unmapped));
        Assert.Equal(0ul, unmapped);
        Ok(Unmap(MockBase - Page, 6 * Page, out unmapped));
        Assert.Equal(4 * Page, unmapped);
    }

    [Fact]
    public void Version_1_cuts_areas_where_the_range_begins_and_ends()
    {
        Start(out Mock mock);
        Ok(Value(VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
        ulong va = (ulong)_c.Host.Pages(8);
        Ok(Map(va, 8 * Page, MockBase));
        Ok(Unmap(MockBase + (2 * Page), 3 * Page, out ulong unmapped));
        Assert.Equal(3 * Page, unmapped);
        Ok(_c.CheckMap(mock.Hwpt, MockBase, va, 2 * Page));
        Ok(_c.CheckMap(mock.Hwpt, MockBase + (5 * Page), va + (5 * Page), 3 * Page));
        Fails(EINVAL, _c.CheckMap(mock.Hwpt, MockBase + (2 * Page), va + (2 * Page), Page));
        Ok(_c.CheckRefs(va, 2 * Page, 1));
        Ok(_c.CheckRefs(va + (2 * Page), 3 * Page, 0));
        Ok(_c.CheckRefs(va + (5 * Page), 3 * Page, 1));
        Ok(Unmap(MockBase + (7 * Page), Page, out _));
        Ok(Unmap(MockBase + (5 * Page), Page, out _));
        Ok(_c.CheckRefs(va + (6 * Page), Page, 1));
        Fails(EINVAL, Unmap(MockBase + (6 * Page), 100, out _));
        Ok(Unmap(0, 0, out unmapped, UNMAP_ALL));
        Assert.Equal(3 * Page, unmapped);
        Ok(_c.CheckRefs(va, 8 * Page, 0));
    }

    [Fact]
    public void Unmap_all_takes_no_range()
    {
        Start(out _);
        Ok(Map((ulong)_c.Host.Pages(1), Page, MockBase));
        Fails(EINVAL, Unmap(1, 0, out _, UNMAP_ALL));
        Fails(EINVAL, Unmap(0, Page, out _, UNMAP_ALL));
        Fails(EINVAL, Unmap(0, 0, out _, 1));
        Ok(Unmap(0, 0, out ulong unmapped, UNMAP_ALL));
        Assert.Equal(Page, unmapped);
        Ok(Unmap(0, 0, out unmapped, UNMAP_ALL));
        Assert.Equal(0ul, unmapped);
    }

    [Theory]
    [InlineData(VFIO_IOMMU_MAP_DMA, 31, EINVAL)]
    [InlineData(VFIO_IOMMU_UNMAP_DMA, 23, EINVAL)]
    [InlineData(VFIO_IOMMU_GET_INFO, 15, EINVAL)]
    [InlineData(VFIO_IOMMU_MAP_DMA, 32, ENODEV)]
    [InlineData(VFIO_IOMMU_UNMAP_DMA, 24, ENODEV)]
    [InlineData(VFIO_IOMMU_GET_INFO, 16, ENODEV)]
    public void Argsz_below_the_struct_is_EINVAL(uint request, int argsz, int errno)
    {
        byte[] argument = new byte[64];
        BitConverter.TryWriteBytes(argument, argsz);
        Fails(errno, _c.Host.Ioctl(_c.Fd, request, argument));
        Fails(EFAULT, _c.Host.Kernel.Ioctl(_c.Fd, request, 0x1000));
    }

    [Fact]
    public void Info_has_page_sizes_and_a_chain_of_two_capabilities()
    {
        Start(out _);
        byte[] info = new byte[128];
        BitConverter.TryWriteBytes(info, 128);
        Ok(_c.Host.Ioctl(_c.Fd, VFIO_IOMMU_GET_INFO, info));
        uint[] words = [.. Enumerable.Range(0, 32).Select(i => BitConverter.ToUInt32(info, i * 4))];
        Assert.Equal((24u + 16 + 32, 3u, 24u), (words[0], words[1], words[4]));

        // Pages below the CPU's count as one of its size.
        Assert.Equal(0x1f_ffff_f000ul, BitConverter.ToUInt64(info, 8));
        Assert.Equal((VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL | 0x10000u, 40u, uint.MaxValue), (words[6], words[7], words[8]));
        Assert.Equal((VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE | 0x10000u, 0u, 1u), (words[10], words[11], words[12]));
        Assert.Equal((MOCK_APERTURE_START, MOCK_APERTURE_LAST), (BitConverter.ToUInt64(info, 56), BitConverter.ToUInt64(info, 64)));
    }

    [Theory]
    [InlineData(16, 16)]
    [InlineData(20, 20)]
    [InlineData(24, 24)]
    [InlineData(36, 36)]
    [InlineData(40, 40)]
    [InlineData(48, 40)]
    [InlineData(56, 40)]
    [InlineData(71, 40)]
    [InlineData(72, 72)]
    public void Info_without_room_says_how_much_is_needed(int argsz, int written)
    {
        Start(out _);
        byte[] info = new byte[128];
        info.AsSpan().Fill(0xee);
        BitConverter.TryWriteBytes(info, argsz);
        Ok(_c.Host.Ioctl(_c.Fd, VFIO_IOMMU_GET_INFO, info));
        Assert.Equal(72u, BitConverter.ToUInt32(info, 0));
        Assert.True(info.AsSpan(Math.Max(written, argsz)).IndexOfAnyExcept((byte)0xee) < 0);
        if (argsz >= 24)
        {
            Assert.Equal(argsz >= 72 ? 24u : 0, BitConverter.ToUInt32(info, 16));
        }
    }

    [Fact]
    public void Info_of_an_address_space_without_a_table()
    {
        Ok(VfioIoas(1, _c.IoasAlloc(), out _));
        byte[] info = new byte[128];
        BitConverter.TryWriteBytes(info, 128);
        Ok(_c.Host.Ioctl(_c.Fd, VFIO_IOMMU_GET_INFO, info));
        Assert.Equal(0xffff_ffff_ffff_f000ul, BitConverter.ToUInt64(info, 8));
        Assert.Equal((0ul, ulong.MaxValue), (BitConverter.ToUInt64(info, 56), BitConverter.ToUInt64(info, 64)));
    }

    // An address space with a mock device, as the compatibility one.
    private void Start(out Mock mock)
    {
        uint ioas = _c.IoasAlloc();
        mock = _c.MockDomain(ioas);
        Ok(VfioIoas(1, ioas, out _));
    }

    private int VfioIoas(ushort op, uint ioas, out uint result)
    {
        var cmd = new iommu_vfio_ioas { op = op, ioas_id = ioas };
        int rc = _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_VFIO_IOAS, ref cmd);
        result = cmd.ioas_id;
        return rc;
    }

    private int Value(uint request, uint value) => _c.Host.Kernel.Ioctl(_c.Fd, request, (nint)value);

    private int Map(ulong va, ulong size, ulong iova, uint flags = MAP_READ | MAP_WRITE)
    {
        var map = new vfio_iommu_type1_dma_map { argsz = (uint)sizeof(vfio_iommu_type1_dma_map), flags = flags, vaddr = va, iova = iova,
            size = size };
        return _c.Host.Ioctl(_c.Fd, VFIO_IOMMU_MAP_DMA, ref map);
    }

    private int Unmap(ulong iova, ulong size, out ulong unmapped, uint flags = 0)
    {
        var unmap = new vfio_iommu_type1_dma_unmap { argsz = 24, flags = flags, iova = iova, size = size };
        int rc = _c.Host.Ioctl(_c.Fd, VFIO_IOMMU_UNMAP_DMA, ref unmap);
        unmapped = unmap.size;
        return rc;
    }
}
