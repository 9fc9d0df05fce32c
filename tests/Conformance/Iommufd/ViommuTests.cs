using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>Virtual IOMMUs, virtual devices and invalidation through them.</summary>
public sealed unsafe class ViommuTests : IDisposable
{
    private const uint NEST_PARENT = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT;

    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void The_checks_of_viommu_alloc_have_an_order()
    {
        uint ioas = _c.IoasAlloc();
        Fails(EOPNOTSUPP, _c.ViommuAlloc(99, 98, 0, out _));
        var cmd = new iommu_viommu_alloc { flags = 1, type = IOMMU_VIOMMU_TYPE_SELFTEST };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_VIOMMU_ALLOC, ref cmd));
        Fails(ENOENT, _c.ViommuAlloc(99, 98, IOMMU_VIOMMU_TYPE_SELFTEST, out _));
        Mock mock = _c.MockDomain(ioas);
        Fails(EOPNOTSUPP, _c.ViommuAlloc(mock.Idev, 98, 1, out _));
        Fails(ENOENT, _c.ViommuAlloc(mock.Idev, 98, IOMMU_VIOMMU_TYPE_SELFTEST, out _));
        Fails(ENOENT, _c.ViommuAlloc(mock.Idev, ioas, IOMMU_VIOMMU_TYPE_SELFTEST, out _));
        Fails(EINVAL, _c.ViommuAlloc(mock.Idev, mock.Hwpt, IOMMU_VIOMMU_TYPE_SELFTEST, out _));
        uint parent = _c.HwptAlloc(mock.Idev, ioas, NEST_PARENT);
        Ok(_c.ViommuAlloc(mock.Idev, parent, IOMMU_VIOMMU_TYPE_SELFTEST, out _));
        Ok(_c.NestedAlloc(mock.Idev, parent, 0, out uint nested));
        Fails(ENOENT, _c.ViommuAlloc(mock.Idev, nested, IOMMU_VIOMMU_TYPE_SELFTEST, out _));
    }

    [Fact]
    public void A_viommu_keeps_its_parent_and_is_kept_by_its_tables_and_devices()
    {
        Setup(out Mock mock, out uint parent, out uint viommu);
        Fails(EBUSY, _c.Destroy(parent));
        Ok(_c.NestedAlloc(mock.Idev, viommu, 0, out uint nested));
        Fails(EBUSY, _c.Destroy(viommu));
        Ok(_c.VdeviceAlloc(viommu, mock.Idev, 0x99, out uint vdevice));
        Ok(_c.Destroy(nested));
        Fails(EBUSY, _c.Destroy(viommu));
        Ok(_c.Destroy(vdevice));
        Ok(_c.Destroy(viommu));
        Ok(_c.Destroy(parent));
    }

    [Fact]
    public void Driver_data_comes_back()
    {
        Setup(out Mock mock, out uint parent, out _);
        var data = new iommu_viommu_selftest { in_data = 0xabcd };
        Ok(_c.ViommuAlloc(mock.Idev, parent, IOMMU_VIOMMU_TYPE_SELFTEST, out uint a, (ulong)&data, (uint)sizeof(iommu_viommu_selftest)));
        Assert.Equal((0xabcdu, 0x1000ul, 0x2000ul), (data.out_data, data.out_mmap_offset, data.out_mmap_length));
        Ok(_c.ViommuAlloc(mock.Idev, parent, IOMMU_VIOMMU_TYPE_SELFTEST, out _, (ulong)&data, 8));
        Fails(EINVAL, _c.ViommuAlloc(mock.Idev, parent, IOMMU_VIOMMU_TYPE_SELFTEST, out _, (ulong)&data, 7));
        Fails(EINVAL, _c.ViommuAlloc(mock.Idev, parent, IOMMU_VIOMMU_TYPE_SELFTEST, out _, (ulong)&data, 25));
        Fails(EFAULT, _c.ViommuAlloc(mock.Idev, parent, IOMMU_VIOMMU_TYPE_SELFTEST, out _, 0x1000, 24));
        Ok(_c.Destroy(a));
    }

    [Fact]
    public void The_page_of_a_viommu_can_be_mapped_whole_and_shared()
    {
        Setup(out Mock mock, out uint parent, out _);
        var data = new iommu_viommu_selftest { in_data = 0x1234 };
        Ok(_c.ViommuAlloc(mock.Idev, parent, IOMMU_VIOMMU_TYPE_SELFTEST, out _, (ulong)&data, (uint)sizeof(iommu_viommu_selftest)));
        IKernel kernel = _c.Host.Kernel;
        long offset = (long)data.out_mmap_offset;
        Assert.Equal(-ENXIO, kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_SHARED, _c.Fd, offset));
        Assert.Equal(-ENXIO, kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_SHARED, _c.Fd, offset + 4096));
        Assert.Equal(-ENXIO, kernel.Mmap(0, 3 * 4096, Libc.PROT_READ, Libc.MAP_SHARED, _c.Fd, offset));
        Assert.Equal(-EINVAL, kernel.Mmap(0, 2 * 4096, Libc.PROT_READ, Libc.MAP_PRIVATE, _c.Fd, offset));
        Assert.Equal(-EPERM, kernel.Mmap(0, 2 * 4096, Libc.PROT_READ | 4, Libc.MAP_SHARED, _c.Fd, offset));
        nint mapped = kernel.Mmap(0, 2 * 4096, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, _c.Fd, offset);
        Assert.False(mapped is < 0 and > -4096);
        Assert.Equal(0x1234u, *(uint*)mapped);
        Assert.Equal(0, kernel.Munmap(mapped, 2 * 4096));
    }

    [Fact]
    public void A_viommu_whose_page_is_mapped_is_EBUSY()
    {
        Setup(out Mock mock, out uint parent, out _);
        var data = new iommu_viommu_selftest { in_data = 0x1234 };
        Ok(_c.ViommuAlloc(mock.Idev, parent, IOMMU_VIOMMU_TYPE_SELFTEST, out uint viommu, (ulong)&data, (uint)sizeof(iommu_viommu_selftest)));
        IKernel kernel = _c.Host.Kernel;
        nint first = kernel.Mmap(0, 2 * 4096, Libc.PROT_READ, Libc.MAP_SHARED, _c.Fd, (long)data.out_mmap_offset);
        nint second = kernel.Mmap(0, 2 * 4096, Libc.PROT_READ, Libc.MAP_SHARED, _c.Fd, (long)data.out_mmap_offset);
        Fails(EBUSY, _c.Destroy(viommu));
        Assert.Equal(0, kernel.Munmap(first, 2 * 4096));
        Fails(EBUSY, _c.Destroy(viommu));

        // Half of it is still a mapping.
        Assert.Equal(0, kernel.Munmap(second, 4096));
        Fails(EBUSY, _c.Destroy(viommu));
        Assert.Equal(0, kernel.Munmap(second + 4096, 4096));
        Ok(_c.Destroy(viommu));
        Assert.Equal(-ENXIO, kernel.Mmap(0, 2 * 4096, Libc.PROT_READ, Libc.MAP_SHARED, _c.Fd, (long)data.out_mmap_offset));
    }

    [Fact]
    public void Virtual_devices_are_unique_on_both_sides()
    {
        Setup(out Mock mock, out uint parent, out uint viommu);
        Mock other = _c.MockDomain(_c.IoasAlloc());
        Fails(ENOENT, _c.VdeviceAlloc(99, mock.Idev, 1, out _));
        Fails(ENOENT, _c.VdeviceAlloc(viommu, 99, 1, out _));
        Fails(ENOENT, _c.VdeviceAlloc(parent, mock.Idev, 1, out _));
        Ok(_c.VdeviceAlloc(viommu, mock.Idev, 1, out uint vdevice));
        Fails(EEXIST, _c.VdeviceAlloc(viommu, mock.Idev, 2, out _));
        Fails(EEXIST, _c.VdeviceAlloc(viommu, other.Idev, 1, out _));
        Ok(_c.VdeviceAlloc(viommu, other.Idev, ulong.MaxValue, out _));
        Ok(_c.Destroy(vdevice));
        Ok(_c.VdeviceAlloc(viommu, mock.Idev, 1, out _));
    }

    [Fact]
    public void A_device_that_goes_takes_its_virtual_device_but_not_the_id()
    {
        Setup(out Mock mock, out _, out uint viommu);
        Ok(_c.VdeviceAlloc(viommu, mock.Idev, 1, out uint vdevice));
        Ok(_c.Destroy(mock.Stdev));
        Fails(ENOENT, _c.Destroy(vdevice));

        // The id stays reserved: the lowest free ones are those of the mock device.
        var ids = new HashSet<uint> { _c.IoasAlloc(), _c.IoasAlloc(), _c.IoasAlloc(), _c.IoasAlloc() };
        Assert.DoesNotContain(vdevice, ids);
    }

    [Fact]
    public void A_nested_table_of_a_viommu_takes_only_devices_that_are_on_it()
    {
        Setup(out Mock mock, out uint parent, out uint viommu);
        Ok(_c.NestedAlloc(mock.Idev, viommu, 0, out uint nested));
        Fails(ENOENT, _c.MockReplace(mock.Stdev, nested, out _));
        Ok(_c.VdeviceAlloc(viommu, mock.Idev, 5, out uint vdevice));
        Ok(_c.MockReplace(mock.Stdev, nested, out _));
        Ok(_c.MockReplace(mock.Stdev, parent, out _));
        Ok(_c.Destroy(vdevice));
        Fails(EOPNOTSUPP, _c.NestedAlloc(mock.Idev, viommu, NEST_PARENT, out _));
        Fails(EOPNOTSUPP, _c.HwptAlloc(mock.Idev, viommu, 0, out _));
        Fails(ENOENT, _c.NestedAlloc(99, viommu, 0, out _));
    }

    [Fact]
    public void Invalidation_through_a_viommu_reaches_the_device()
    {
        Setup(out Mock mock, out _, out uint viommu);
        Ok(_c.VdeviceAlloc(viommu, mock.Idev, 0x99, out _));
        for (uint i = 0; i < 4; i++)
        {
            Ok(_c.CheckCache(mock.Idev, i, IOMMU_TEST_DEV_CACHE_DEFAULT));
        }

        Fails(EINVAL, _c.CheckCache(mock.Idev, 4, IOMMU_TEST_DEV_CACHE_DEFAULT));
        Ok(Invalidate(viommu, [new() { vdev_id = 0x99, cache_id = 1 }], out uint handled));
        Assert.Equal(1u, handled);
        Ok(_c.CheckCache(mock.Idev, 0, IOMMU_TEST_DEV_CACHE_DEFAULT));
        Ok(_c.CheckCache(mock.Idev, 1, 0));
        Fails(EINVAL, Invalidate(viommu, [new() { vdev_id = 0x99, cache_id = 0 }, new() { vdev_id = 0x98 }], out handled));
        Assert.Equal(1u, handled);
        Ok(_c.CheckCache(mock.Idev, 0, 0));
        Fails(EINVAL, Invalidate(viommu, [new() { vdev_id = 0x99, cache_id = 4 }], out handled));
        Fails(EOPNOTSUPP, Invalidate(viommu, [new() { vdev_id = 0x99, flags = 2 }], out handled));
        Assert.Equal(0u, handled);
        Ok(Invalidate(viommu, [new() { vdev_id = 0x99, flags = IOMMU_TEST_INVALIDATE_FLAG_ALL }], out _));
        Ok(_c.CheckCache(mock.Idev, 3, 0));
    }

    [Fact]
    public void Invalidation_through_a_viommu_with_bad_arguments()
    {
        Setup(out Mock mock, out _, out uint viommu);
        Ok(_c.VdeviceAlloc(viommu, mock.Idev, 0x99, out _));
        iommu_viommu_invalidate_selftest[] one = [new() { vdev_id = 0x99 }];
        const uint Type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
        Ok(_c.Invalidate(viommu, Type, one, out uint handled, count: 0));
        Assert.Equal(0u, handled);
        Fails(EINVAL, _c.Invalidate(viommu, 1, one, out _, count: 0));
        Fails(EINVAL, _c.Invalidate(viommu, 1, one, out _));
        Fails(EINVAL, _c.Invalidate(viommu, Type, one, out _, length: 0));

        // A shorter request lacks its last fields, a longer one must end in zeroes.
        Ok(_c.Invalidate(viommu, Type, one, out handled, length: 8));
        Assert.Equal(1u, handled);
        iommu_viommu_invalidate_selftest[] two = [new() { vdev_id = 0x99 }, default];
        Ok(_c.Invalidate(viommu, Type, two, out _, count: 1, length: 24));
        two[1].flags = 1;
        Fails(E2BIG, _c.Invalidate(viommu, Type, two, out handled, count: 1, length: 24));
        Assert.Equal(0u, handled);
        var bad = new iommu_hwpt_invalidate { hwpt_id = viommu, data_type = Type, data_uptr = 0x1000, entry_len = 12, entry_num = 1 };
        Fails(EFAULT, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_INVALIDATE, ref bad));
    }

    private int Invalidate(uint viommu, iommu_viommu_invalidate_selftest[] requests, out uint handled) =>
        _c.Invalidate(viommu, IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, requests, out handled);

    private void Setup(out Mock mock, out uint parent, out uint viommu)
    {
        uint ioas = _c.IoasAlloc();
        mock = _c.MockDomain(ioas);
        parent = _c.HwptAlloc(mock.Idev, ioas, NEST_PARENT);
        viommu = _c.ViommuAlloc(mock.Idev, parent);
    }
}
