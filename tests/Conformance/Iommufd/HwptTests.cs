using IommuFd.HwSim.Kernel;
using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.iommufd_hwpt_alloc_flags;

namespace Conformance.Iommu;

/// <summary>Hardware page tables: made by hand or by attaching, replaced, nested, invalidated.</summary>
public sealed unsafe class HwptTests : IDisposable
{
    private const uint NEST_PARENT = (uint)IOMMU_HWPT_ALLOC_NEST_PARENT, DIRTY = (uint)IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
    private const uint FAULT = (uint)IOMMU_HWPT_FAULT_ID_VALID, PASID = (uint)IOMMU_HWPT_ALLOC_PASID;

    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void Devices_on_one_address_space_share_the_table_that_attaching_made()
    {
        uint ioas = _c.IoasAlloc();
        Mock a = _c.MockDomain(ioas), b = _c.MockDomain(ioas);
        Assert.Equal(a.Hwpt, b.Hwpt);
        Ok(_c.Destroy(a.Stdev));
        Fails(EBUSY, _c.Destroy(a.Hwpt));
        Ok(_c.Destroy(b.Stdev));
        Fails(ENOENT, _c.Destroy(a.Hwpt));
    }

    [Fact]
    public void A_table_made_by_hand_is_filled_and_lives_until_it_is_destroyed()
    {
        uint ioas = _c.IoasAlloc();
        ulong va = (ulong)_c.Host.Pages(1);
        Ok(_c.Map(ioas, va, Page, MockBase));
        Mock mock = _c.MockDomain(ioas);
        uint hwpt = _c.HwptAlloc(mock.Idev, ioas);
        Assert.NotEqual(mock.Hwpt, hwpt);
        Ok(_c.CheckMap(hwpt, MockBase, va, Page));
        Ok(_c.CheckRefs(va, Page, 1));
        Ok(_c.Destroy(mock.Stdev));
        Ok(_c.CheckMap(hwpt, MockBase, va, Page));
        Fails(EBUSY, _c.Destroy(ioas));
        Ok(_c.Map(ioas, va, Page, MockBase + Page));
        Ok(_c.CheckMap(hwpt, MockBase + Page, va, Page));
        Ok(_c.Destroy(hwpt));
        Ok(_c.CheckRefs(va, Page, 0));
        Ok(_c.Destroy(ioas));
    }

    [Fact]
    public void Attaching_never_picks_a_table_made_by_hand()
    {
        uint ioas = _c.IoasAlloc();
        Mock a = _c.MockDomain(ioas);
        uint hwpt = _c.HwptAlloc(a.Idev, ioas);
        Mock b = _c.MockDomain(ioas);
        Assert.Equal(a.Hwpt, b.Hwpt);
        Mock c = _c.MockDomain(hwpt);
        Assert.Equal(hwpt, c.Hwpt);
        Fails(EBUSY, _c.Destroy(hwpt));
        Ok(_c.Destroy(c.Stdev));
        Ok(_c.Destroy(hwpt));
    }

    [Fact]
    public void Map_fills_all_tables_and_the_last_one_holds_the_pins()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        uint[] hwpts = [_c.HwptAlloc(mock.Idev, ioas), _c.HwptAlloc(mock.Idev, ioas), _c.HwptAlloc(mock.Idev, ioas)];
        ulong va = (ulong)_c.Host.Pages(4);
        Ok(_c.Map(ioas, va, 4 * Page, MockBase));
        foreach (uint hwpt in hwpts)
        {
            Ok(_c.CheckMap(hwpt, MockBase, va, 4 * Page));
        }

        Ok(_c.CheckRefs(va, 4 * Page, 1));
        Ok(_c.Destroy(mock.Stdev));
        Ok(_c.Destroy(hwpts[1]));
        Ok(_c.CheckMap(hwpts[0], MockBase, va, 4 * Page));
        Ok(_c.Destroy(hwpts[0]));
        Ok(_c.CheckRefs(va, 4 * Page, 1));
        Ok(_c.CheckMap(hwpts[2], MockBase, va, 4 * Page));
        Ok(_c.Unmap(ioas, MockBase, 4 * Page));
        Ok(_c.CheckRefs(va, 4 * Page, 0));
        Fails(EINVAL, _c.CheckMap(hwpts[2], MockBase, va, Page));
    }

    [Fact]
    public void Replace_moves_a_device_between_tables_and_address_spaces()
    {
        uint first = _c.IoasAlloc(), second = _c.IoasAlloc();
        Mock mock = _c.MockDomain(first);
        Ok(_c.MockReplace(mock.Stdev, second, out uint hwpt));
        Fails(ENOENT, _c.Destroy(mock.Hwpt));
        Assert.Equal([(0ul, ulong.MaxValue)], _c.Ranges(first));
        Assert.Equal([(MOCK_APERTURE_START, MOCK_APERTURE_LAST)], _c.Ranges(second));
        Ok(_c.Destroy(first));
        uint manual = _c.HwptAlloc(mock.Idev, second);
        Ok(_c.MockReplace(mock.Stdev, manual, out uint now));
        Assert.Equal(manual, now);
        Fails(ENOENT, _c.Destroy(hwpt));
        Ok(_c.MockReplace(mock.Stdev, manual, out _));
        Ok(_c.MockReplace(mock.Stdev, second, out _));
        Ok(_c.Destroy(manual));
        Fails(ENOENT, _c.MockReplace(mock.Stdev, 99, out _));
        Fails(EINVAL, _c.MockReplace(mock.Stdev, mock.Idev, out _));
    }

    [Fact]
    public void Replace_that_fails_changes_nothing()
    {
        uint first = _c.IoasAlloc(), second = _c.IoasAlloc();
        Mock mock = _c.MockDomain(first);
        Ok(_c.Map(second, 0x1000, Page, MockBase));
        Fails(EFAULT, _c.MockReplace(mock.Stdev, second, out _));
        Ok(_c.Unmap(second, MockBase, Page));
        Ok(_c.Map(second, 0x1000, Page, 0));
        Fails(EADDRINUSE, _c.MockReplace(mock.Stdev, second, out _));
        Fails(EBUSY, _c.Destroy(mock.Hwpt));
        Ok(_c.Destroy(second));
    }

    [Fact]
    public void The_checks_of_hwpt_alloc_have_an_order()
    {
        uint ioas = _c.IoasAlloc();
        var reserved = new iommu_hwpt_alloc { __reserved = 1, data_len = 5 };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_ALLOC, ref reserved));
        Fails(EINVAL, _c.HwptAlloc(99, ioas, 0, out _, 0, 0, 4));
        Fails(EINVAL, _c.HwptAlloc(99, ioas, 0, out _, 1, 0, 0));
        Fails(ENOENT, _c.HwptAlloc(99, ioas, 0, out _));
        Fails(ENOENT, _c.HwptAlloc(ioas, ioas, 0, out _));
        Mock mock = _c.MockDomain(ioas);
        Fails(EINVAL, _c.HwptAlloc(mock.Idev, 99, 0, out _));
        Fails(EINVAL, _c.HwptAlloc(mock.Idev, mock.Idev, 0, out _));
        Fails(EINVAL, _c.HwptAlloc(mock.Idev, mock.Stdev, 0xffff, out _));
    }

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(NEST_PARENT, 0)]
    [InlineData(DIRTY, 0)]
    [InlineData(PASID, 0)]
    [InlineData(NEST_PARENT | DIRTY | PASID, 0)]
    [InlineData(FAULT, ENOENT)]
    [InlineData(FAULT | NEST_PARENT, EOPNOTSUPP)]
    [InlineData(16u, EOPNOTSUPP)]
    [InlineData(0x80000000u, EOPNOTSUPP)]
    public void Flags_of_a_table_on_an_address_space(uint flags, int errno)
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        Assert.Equal(-errno, _c.HwptAlloc(mock.Idev, ioas, flags, out _));
    }

    [Fact]
    public void Driver_data_of_a_table()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        var data = new iommu_hwpt_selftest { pagetable_type = MOCK_IOMMUPT_HUGE };
        Ok(_c.HwptAlloc(mock.Idev, ioas, 0, out _, IOMMU_HWPT_DATA_SELFTEST, (ulong)&data, 8));
        Ok(_c.HwptAlloc(mock.Idev, ioas, 0, out _, IOMMU_HWPT_DATA_SELFTEST, (ulong)&data, 4));
        Fails(EINVAL, _c.HwptAlloc(mock.Idev, ioas, 0, out _, IOMMU_HWPT_DATA_SELFTEST, (ulong)&data, 3));
        Fails(EINVAL, _c.HwptAlloc(mock.Idev, ioas, 0, out _, IOMMU_HWPT_DATA_SELFTEST, (ulong)&data, 9));
        Fails(EFAULT, _c.HwptAlloc(mock.Idev, ioas, 0, out _, IOMMU_HWPT_DATA_SELFTEST, 0x1000, 8));
        Fails(EOPNOTSUPP, _c.HwptAlloc(mock.Idev, ioas, 0, out _, 1, (ulong)&data, 8));
        data.pagetable_type = 2;
        Fails(EOPNOTSUPP, _c.HwptAlloc(mock.Idev, ioas, 0, out _, IOMMU_HWPT_DATA_SELFTEST, (ulong)&data, 8));
    }

    [Fact]
    public void Tables_made_by_hand_and_by_attaching_are_not_parents_unless_asked()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        Fails(EINVAL, _c.NestedAlloc(mock.Idev, mock.Hwpt, 0, out _));
        Fails(EINVAL, _c.NestedAlloc(mock.Idev, _c.HwptAlloc(mock.Idev, ioas), 0, out _));
        uint parent = _c.HwptAlloc(mock.Idev, ioas, NEST_PARENT);
        Ok(_c.NestedAlloc(mock.Idev, parent, 0, out uint nested));
        Fails(EINVAL, _c.NestedAlloc(mock.Idev, nested, 0, out _));
    }

    [Fact]
    public void Nested_tables_keep_their_parent()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        uint parent = _c.HwptAlloc(mock.Idev, ioas, NEST_PARENT);
        Ok(_c.NestedAlloc(mock.Idev, parent, 0, out uint a));
        Ok(_c.NestedAlloc(mock.Idev, parent, PASID, out uint b));
        Fails(EBUSY, _c.Destroy(parent));
        Ok(_c.MockReplace(mock.Stdev, a, out _));
        Fails(EBUSY, _c.Destroy(a));
        Ok(_c.Destroy(b));
        Ok(_c.MockReplace(mock.Stdev, parent, out _));
        Ok(_c.Destroy(a));
        Fails(EBUSY, _c.Destroy(parent));
        Ok(_c.MockReplace(mock.Stdev, ioas, out _));
        Ok(_c.Destroy(parent));
    }

    [Fact]
    public void Flags_and_data_of_a_nested_table()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        uint parent = _c.HwptAlloc(mock.Idev, ioas, NEST_PARENT);
        var data = new iommu_hwpt_selftest { iotlb = IOMMU_TEST_IOTLB_DEFAULT };
        Fails(EOPNOTSUPP, _c.HwptAlloc(mock.Idev, parent, 0, out _));
        Fails(EOPNOTSUPP, _c.NestedAlloc(mock.Idev, parent, NEST_PARENT, out _));
        Fails(EOPNOTSUPP, _c.NestedAlloc(mock.Idev, parent, DIRTY, out _));
        Fails(EOPNOTSUPP, _c.HwptAlloc(mock.Idev, parent, 0, out _, 2, (ulong)&data, 8));
        Fails(EINVAL, _c.HwptAlloc(mock.Idev, parent, 0, out _, IOMMU_HWPT_DATA_SELFTEST, (ulong)&data, 2));
        Fails(ENOENT, _c.NestedAlloc(mock.Idev, parent, FAULT, out _, 99));
        Ok(_c.FaultAlloc(out uint fault, out _));
        Ok(_c.NestedAlloc(mock.Idev, parent, FAULT, out uint nested, fault));
        Fails(EBUSY, _c.Destroy(fault));
        Ok(_c.Destroy(nested));
        Fails(EBUSY, _c.Destroy(fault));
    }

    [Fact]
    public void A_table_for_dirty_tracking_takes_only_devices_that_have_it()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        uint hwpt = _c.HwptAlloc(mock.Idev, ioas, DIRTY);
        Ok(_c.MockDomain(hwpt, 0, out _));
        Fails(EINVAL, _c.MockDomain(hwpt, MOCK_FLAGS_DEVICE_NO_DIRTY, out _));
        Mock without = _c.MockDomain(ioas, MOCK_FLAGS_DEVICE_NO_DIRTY);
        Fails(EOPNOTSUPP, _c.HwptAlloc(without.Idev, ioas, DIRTY, out _));
        Fails(EINVAL, _c.MockDomain(ioas, 2, out _));
    }

    [Fact]
    public void Invalidation_counts_what_it_handled()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        uint parent = _c.HwptAlloc(mock.Idev, ioas, NEST_PARENT);
        Ok(_c.NestedAlloc(mock.Idev, parent, 0, out uint nested));
        for (uint i = 0; i < 4; i++)
        {
            Ok(_c.CheckIotlb(nested, i, IOMMU_TEST_IOTLB_DEFAULT));
        }

        Ok(Invalidate(nested, [new() { iotlb_id = 1 }, new() { iotlb_id = 2 }], out uint handled));
        Assert.Equal(2u, handled);
        Ok(_c.CheckIotlb(nested, 0, IOMMU_TEST_IOTLB_DEFAULT));
        Ok(_c.CheckIotlb(nested, 1, 0));
        Ok(_c.CheckIotlb(nested, 2, 0));
        Fails(EOPNOTSUPP, Invalidate(nested, [new() { iotlb_id = 0 }, new() { flags = 2 }], out handled));
        Assert.Equal(1u, handled);
        Ok(_c.CheckIotlb(nested, 0, 0));
        Fails(EINVAL, Invalidate(nested, [new() { iotlb_id = 4 }], out handled));
        Assert.Equal(0u, handled);
        Ok(_c.CheckIotlb(nested, 3, IOMMU_TEST_IOTLB_DEFAULT));
        Ok(Invalidate(nested, [new() { flags = IOMMU_TEST_INVALIDATE_FLAG_ALL }], out handled));
        Ok(_c.CheckIotlb(nested, 3, 0));
        Fails(EINVAL, _c.CheckIotlb(nested, 4, 0));
    }

    [Fact]
    public void Invalidation_with_bad_arguments_handles_nothing()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        uint parent = _c.HwptAlloc(mock.Idev, ioas, NEST_PARENT);
        Ok(_c.NestedAlloc(mock.Idev, parent, 0, out uint nested));
        iommu_hwpt_invalidate_selftest[] one = [new() { iotlb_id = 0 }];
        const uint Type = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;

        // No request at all asks whether the type is known.
        Ok(_c.Invalidate(nested, Type, one, out uint handled, count: 0));
        Assert.Equal(0u, handled);
        Fails(EINVAL, _c.Invalidate(nested, 1, one, out _, count: 0));
        Fails(EINVAL, _c.Invalidate(nested, 1, one, out handled));
        Assert.Equal(0u, handled);
        Fails(EINVAL, _c.Invalidate(nested, Type, one, out _, length: 0));
        Fails(EINVAL, _c.Invalidate(nested, Type, one, out _, length: 4));
        Fails(EINVAL, _c.Invalidate(nested, Type, one, out _, length: 4097));
        Fails(EINVAL, _c.Invalidate(nested, Type, one, out _, length: 16));
        Fails(EINVAL, _c.Invalidate(nested, Type, one, out _, count: (1 << 19) + 1));
        Fails(EINVAL, _c.Invalidate(nested, Type, Array.Empty<iommu_hwpt_invalidate_selftest>(), out handled, count: 1));
        Assert.Equal(0u, handled);
        Fails(EINVAL, _c.Invalidate(parent, Type, one, out handled));
        Assert.Equal(0u, handled);
        Fails(EINVAL, _c.Invalidate(ioas, Type, one, out _));
        Fails(ENOENT, _c.Invalidate(99, Type, one, out _));
        var reserved = new iommu_hwpt_invalidate { hwpt_id = nested, entry_num = 5, __reserved = 1 };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_INVALIDATE, ref reserved));
        Assert.Equal(0u, reserved.entry_num);
        var bad = new iommu_hwpt_invalidate { hwpt_id = nested, data_type = Type, data_uptr = 0x1000, entry_len = 8, entry_num = 1 };
        Fails(EFAULT, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_INVALIDATE, ref bad));
        Assert.Equal(0u, bad.entry_num);
    }

    [Fact]
    public void Hardware_info_of_the_mock_device()
    {
        Mock mock = _c.MockDomain(_c.IoasAlloc(), MOCK_FLAGS_DEVICE_PASID);
        byte* buffer = stackalloc byte[16];
        foreach (uint room in new uint[] { 0, 4, 8, 16 })
        {
            new Span<byte>(buffer, 16).Fill(0xff);
            var info = new iommu_hw_info { dev_id = mock.Idev, data_len = room, data_uptr = (ulong)buffer };
            Ok(_c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_GET_HW_INFO, ref info));
            Assert.Equal((IOMMU_HW_INFO_TYPE_SELFTEST, 8u, (byte)20), (info.out_data_type, info.data_len, info.out_max_pasid_log2));
            Assert.Equal((ulong)(iommufd_hw_capabilities.IOMMU_HW_CAP_DIRTY_TRACKING | iommufd_hw_capabilities.IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED),
                info.out_capabilities);
            uint first = ((uint*)buffer)[0], second = ((uint*)buffer)[1], third = ((uint*)buffer)[2];
            Assert.Equal((room >= 4 ? 0 : uint.MaxValue, room >= 8 ? IOMMU_HW_INFO_SELFTEST_REGVAL : uint.MaxValue, room >= 12 ? 0 : uint.MaxValue),
                (first, second, third));
        }
    }

    [Fact]
    public void Hardware_info_with_bad_arguments()
    {
        Mock mock = _c.MockDomain(_c.IoasAlloc());
        var info = new iommu_hw_info { dev_id = mock.Idev, flags = 2 };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_GET_HW_INFO, ref info));
        info = new() { dev_id = mock.Hwpt };
        Fails(ENOENT, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_GET_HW_INFO, ref info));
        info = new() { dev_id = mock.Idev, data_len = 8, data_uptr = 0x1000 };
        Fails(EFAULT, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_GET_HW_INFO, ref info));
        info = new() { dev_id = mock.Idev, flags = 1, in_data_type = 1 };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_GET_HW_INFO, ref info));
        info = new() { dev_id = mock.Idev, flags = 1, in_data_type = IOMMU_HW_INFO_TYPE_SELFTEST };
        Ok(_c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_GET_HW_INFO, ref info));

        // Without the flag the field is not read.
        info = new() { dev_id = mock.Idev, in_data_type = 1 };
        Ok(_c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_GET_HW_INFO, ref info));
        info = new() { dev_id = mock.Idev };
        info.__reserved[1] = 1;
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_GET_HW_INFO, ref info));
    }

    private int Invalidate(uint nested, iommu_hwpt_invalidate_selftest[] requests, out uint handled) =>
        _c.Invalidate(nested, IOMMU_HWPT_INVALIDATE_DATA_SELFTEST, requests, out handled);
}
