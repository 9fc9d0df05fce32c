using Conformance.Vfio;
using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>A PCI function behind VT-d: what its unit allows, tables by hand, groups of two.</summary>
public sealed unsafe class DeviceTests : IDisposable
{
    private const ulong MsiFirst = 0xfee00000, MsiLast = 0xfeefffff;

    private readonly TestHost _t = new();
    private readonly IommufdCalls _c;

    public DeviceTests() => _c = new IommufdCalls(_t);

    public void Dispose() => _t.Dispose();

    [Fact]
    public void Binding_alone_changes_no_address_space()
    {
        uint ioas = _c.IoasAlloc();
        Bind(_t.Single);
        Assert.Equal([(0ul, ulong.MaxValue)], _c.Ranges(ioas));
        Ok(_c.Destroy(ioas));
    }

    [Fact]
    public void Attaching_reserves_the_interrupt_window_and_what_the_table_cannot_hold()
    {
        _t.NeedVtd();
        uint ioas = _c.IoasAlloc();
        (int device, _) = Bind(_t.Single);
        int hwpt = _t.Attach(device, (int)ioas);
        Assert.NotEqual((int)ioas, hwpt);
        (ulong First, ulong Last)[] ranges = _c.Ranges(ioas);
        Assert.Equal(Page, _c.Alignment(ioas));
        Assert.Equal((0ul, MsiFirst - 1), ranges[0]);
        Assert.Equal(MsiLast + 1, ranges[1].First);
        Fails(EINVAL, _c.Map(ioas, (ulong)_t.Pages(1), Page, MsiFirst));
        Fails(EINVAL, _c.Map(ioas, (ulong)_t.Pages(2), 2 * Page, MsiFirst - Page));
        Fails(EBUSY, _c.Destroy(ioas));
        Fails(EBUSY, _c.Destroy((uint)hwpt));
        Ok(_t.TryDetach(device));
        Assert.Equal([(0ul, ulong.MaxValue)], _c.Ranges(ioas));
        Fails(ENOENT, _c.Destroy((uint)hwpt));
        Ok(_c.Destroy(ioas));
    }

    [Fact]
    public void A_mapping_in_the_interrupt_window_keeps_a_device_out()
    {
        _t.NeedVtd();
        uint ioas = _c.IoasAlloc();
        (int device, _) = Bind(_t.Single);
        Ok(_c.Map(ioas, (ulong)_t.Pages(1), Page, MsiLast - Page + 1));
        Assert.Equal(-EADDRINUSE, _t.TryAttach(device, (int)ioas));
        Ok(_c.Unmap(ioas, MsiLast - Page + 1, Page));
        Ok(_c.Map(ioas, (ulong)_t.Pages(1), Page, 0x8000_0000_0000_0000));
        Assert.Equal(-EADDRINUSE, _t.TryAttach(device, (int)ioas));
        Ok(_c.Unmap(ioas, 0x8000_0000_0000_0000, Page));
        _t.Attach(device, (int)ioas);
    }

    [Fact]
    public void Attaching_to_what_is_no_table_is_EINVAL_and_to_nothing_ENOENT()
    {
        (int device, uint id) = Bind(_t.Single);
        Assert.Equal(-ENOENT, _t.TryAttach(device, 0));
        Assert.Equal(-ENOENT, _t.TryAttach(device, 99));
        Assert.Equal(-EINVAL, _t.TryAttach(device, (int)id));
    }

    [Fact]
    public void Detaching_twice_is_no_error()
    {
        (int device, _) = Bind(_t.Single);
        _t.Attach(device, (int)_c.IoasAlloc());
        Ok(_t.TryDetach(device));
        Ok(_t.TryDetach(device));
    }

    [Fact]
    public void A_second_attach_replaces_the_table()
    {
        uint first = _c.IoasAlloc(), second = _c.IoasAlloc();
        (int device, _) = Bind(_t.Single);
        int a = _t.Attach(device, (int)first), b = _t.Attach(device, (int)second);
        Assert.NotEqual(a, b);
        Ok(_c.Destroy(first));
        Assert.Equal(b, _t.Attach(device, (int)second));
        Assert.Equal(b, _t.Attach(device, b));
        Assert.Equal(-ENOENT, _t.TryAttach(device, 99));
        Fails(EBUSY, _c.Destroy(second));
    }

    [Fact]
    public void Closing_the_device_detaches_and_unbinds()
    {
        uint ioas = _c.IoasAlloc();
        (int device, uint id) = Bind(_t.Single);
        int hwpt = _t.Attach(device, (int)ioas);
        _t.Close(device);
        Fails(ENOENT, _c.Destroy(id));
        Fails(ENOENT, _c.Destroy((uint)hwpt));
        Ok(_c.Destroy(ioas));
    }

    [Fact]
    public void A_table_by_hand_is_used_as_it_is()
    {
        _t.NeedVtd();
        uint ioas = _c.IoasAlloc();
        (int device, uint id) = Bind(_t.Single);
        uint hwpt = _c.HwptAlloc(id, ioas);
        Assert.Equal((int)hwpt, _t.Attach(device, (int)hwpt));

        // Only the attached device's own window is reserved; the width is reserved since the table exists.
        Ok(_t.TryDetach(device));
        Assert.Equal(0ul, _c.Ranges(ioas)[0].First);
        Assert.Single(_c.Ranges(ioas));
        Assert.NotEqual(ulong.MaxValue, _c.Ranges(ioas)[0].Last);
        Ok(_c.Destroy(hwpt));
        Assert.Equal([(0ul, ulong.MaxValue)], _c.Ranges(ioas));
    }

    [Fact]
    public void The_two_devices_of_a_group_have_one_table()
    {
        uint first = _c.IoasAlloc(), second = _c.IoasAlloc();
        (int a, _) = Bind(_t.PairA);
        _t.BindVfio(_t.PairB);
        (int b, _) = Bind(_t.PairB);
        int hwpt = _t.Attach(a, (int)first);
        Assert.Equal(-EINVAL, _t.TryAttach(b, (int)second));
        Assert.Equal(hwpt, _t.Attach(b, (int)first));

        // Replacing moves both.
        int moved = _t.Attach(a, (int)second);
        Assert.NotEqual(hwpt, moved);
        Assert.Equal(moved, _t.Attach(b, (int)second));
        Ok(_c.Destroy(first));
        Ok(_t.TryDetach(a));
        Fails(EBUSY, _c.Destroy((uint)moved));
        Ok(_t.TryDetach(b));
        Fails(ENOENT, _c.Destroy((uint)moved));
    }

    [Fact]
    public void Hardware_info_is_of_vtd()
    {
        _t.NeedPlainVtd();
        (_, uint id) = Bind(_t.Single);
        iommu_hw_info_vtd vtd;
        var info = new iommu_hw_info { dev_id = id, data_len = (uint)sizeof(iommu_hw_info_vtd), data_uptr = (ulong)(&vtd) };
        Ok(_c.Call(Iommufd.IOMMU_GET_HW_INFO, ref info));
        Assert.Equal(1u, info.out_data_type);
        Assert.Equal((24u, (byte)0), (info.data_len, info.out_max_pasid_log2));
        Assert.Equal((ulong)iommufd_hw_capabilities.IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, info.out_capabilities);
        Assert.Equal((1u, 0u), (vtd.flags, vtd.__reserved));
        Assert.NotEqual(0ul, vtd.cap_reg);
        Assert.NotEqual(0ul, vtd.ecap_reg);
        info = new() { dev_id = id, flags = 1, in_data_type = 2 };
        Fails(EOPNOTSUPP, _c.Call(Iommufd.IOMMU_GET_HW_INFO, ref info));
    }

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(8u, 0)]
    [InlineData(1u, EOPNOTSUPP)]
    [InlineData(2u, EOPNOTSUPP)]
    [InlineData(3u, EOPNOTSUPP)]
    [InlineData(16u, EOPNOTSUPP)]
    public void Flags_of_a_table_on_this_unit(uint flags, int errno)
    {
        _t.NeedPlainVtd();
        uint ioas = _c.IoasAlloc();
        (_, uint id) = Bind(_t.Single);
        Assert.Equal(-errno, _c.HwptAlloc(id, ioas, flags, out _));
    }

    [Fact]
    public void Driver_data_and_nesting_are_not_for_this_unit()
    {
        _t.NeedPlainVtd();
        uint ioas = _c.IoasAlloc();
        (_, uint id) = Bind(_t.Single);
        ulong data = 0;
        Fails(EOPNOTSUPP, _c.HwptAlloc(id, ioas, 0, out _, 1, (ulong)(&data), 8));
        uint hwpt = _c.HwptAlloc(id, ioas);
        Fails(EINVAL, _c.HwptAlloc(id, hwpt, 0, out _, 1, (ulong)(&data), 8));
        Fails(EOPNOTSUPP, _c.HwptAlloc(id, hwpt, 0, out _));
        Fails(EOPNOTSUPP, _c.ViommuAlloc(id, hwpt, 1, out _));
        Fails(EOPNOTSUPP, _c.SetDirtyTracking(hwpt, true));
        Fails(EOPNOTSUPP, _c.GetDirty(hwpt, 0, Page, Page, new byte[8]));
    }

    [Fact]
    public void Interrupts_of_the_emulated_container_are_coherent_as_the_unit_is()
    {
        _t.NeedPlainVtd();
        uint ioas = _c.IoasAlloc();
        (int device, _) = Bind(_t.Single);
        _t.Attach(device, (int)ioas);
        var cmd = new iommu_vfio_ioas { op = 1, ioas_id = ioas };
        Ok(_c.Call(Iommufd.IOMMU_VFIO_IOAS, ref cmd));
        Assert.Equal(0, _t.Kernel.Ioctl(_c.Fd, IommuFd.Native.Uapi.Vfio.VFIO_CHECK_EXTENSION, (nint)IommuFd.Native.Uapi.Vfio.VFIO_DMA_CC_IOMMU));
        byte[] info = new byte[128];
        BitConverter.TryWriteBytes(info, 128);
        Ok(_t.Ioctl(_c.Fd, IommuFd.Native.Uapi.Vfio.VFIO_IOMMU_GET_INFO, info));
        Assert.Equal(0x4020_1000ul, BitConverter.ToUInt64(info, 8) | 0x4000_0000);
    }

    private (int Device, uint Id) Bind(string address)
    {
        int device = _t.OpenDevice(address);
        return (device, (uint)_t.Bind(device, _c.Fd));
    }
}
