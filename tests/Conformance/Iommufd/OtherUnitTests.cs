using Conformance.Vfio;
using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>
/// What the drivers of the other families do where VT-d's does something else (drivers/iommu/amd, arm/arm-smmu-v3, riscv of Linux 7.3): the virtual
/// machine of the real-kernel lane has VT-d, so these run on the simulator's topologies.
/// </summary>
public sealed unsafe class OtherUnitTests : IDisposable
{
    private readonly TestHost _t = new();
    private readonly IommufdCalls _c;

    public OtherUnitTests() => _c = new IommufdCalls(_t);

    public void Dispose() => _t.Dispose();

    [Fact]
    public void AMD_reserves_the_interrupt_window_and_the_hypertransport_range()
    {
        NeedAmd();
        Assert.Equal("0x00000000fee00000 0x00000000feefffff msi\n0x000000fd00000000 0x000000ffffffffff reserved", Reserved());
        Assert.Equal([(0ul, 0xfedf_fffful), (0xfef0_0000ul, 0xfc_ffff_fffful), (0x100_0000_0000ul, ulong.MaxValue)], AttachedRanges());
    }

    [Fact]
    public void SMMUv3_reserves_the_window_of_software_managed_interrupts()
    {
        NeedSmmu();
        Assert.Equal("0x0000000008000000 0x00000000080fffff msi", Reserved());
        Assert.Equal([(0ul, 0x7ff_fffful), (0x810_0000ul, (1ul << 48) - 1)], AttachedRanges());
    }

    [Fact]
    public void RISC_V_reserves_nothing()
    {
        NeedRiscv();
        Assert.Equal("", Reserved());
        Assert.Equal(0ul, Assert.Single(AttachedRanges()).First);
    }

    // A nest parent takes a unit that walks the guest's GCR3 table itself (GCR3TRPMode), which this one does not report.
    [Theory]
    [InlineData(0u, 0)]
    [InlineData(1u, EOPNOTSUPP)]
    [InlineData(2u, 0)]
    [InlineData(8u, 0)]
    [InlineData(10u, EOPNOTSUPP)]
    [InlineData(16u, EOPNOTSUPP)]
    public void Flags_of_a_table_on_AMD(uint flags, int errno)
    {
        NeedAmd();
        Assert.Equal(-errno, Alloc(flags));
    }

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(1u, 0)]
    [InlineData(2u, 0)]
    [InlineData(8u, 0)]
    [InlineData(10u, 0)]
    [InlineData(3u, EOPNOTSUPP)]
    [InlineData(9u, EOPNOTSUPP)]
    [InlineData(16u, EOPNOTSUPP)]
    public void Flags_of_a_table_on_SMMUv3(uint flags, int errno)
    {
        NeedSmmu();
        (_, uint id) = Bind();
        var info = new iommu_hw_info { dev_id = id };
        Ok(_c.Call(Iommufd.IOMMU_GET_HW_INFO, ref info));
        if ((info.out_capabilities & (ulong)iommufd_hw_capabilities.IOMMU_HW_CAP_DIRTY_TRACKING) == 0
            && (flags & (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING) != 0)
        {
            errno = EOPNOTSUPP; // a unit without HTTU, as QEMU's
        }

        Assert.Equal(-errno, _c.HwptAlloc(id, _c.IoasAlloc(), flags, out _));
    }

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(1u, EOPNOTSUPP)]
    [InlineData(2u, EOPNOTSUPP)]
    [InlineData(8u, EOPNOTSUPP)]
    public void Flags_of_a_table_on_RISC_V(uint flags, int errno)
    {
        NeedRiscv();
        Assert.Equal(-errno, Alloc(flags));
    }

    [Fact]
    public void Hardware_info_says_the_family()
    {
        NeedOther();
        (_, uint id) = Bind();
        var info = new iommu_hw_info { dev_id = id };
        Ok(_c.Call(Iommufd.IOMMU_GET_HW_INFO, ref info));

        // The driver of RISC-V has no information to give.
        uint expected = Is("ivhd") ? (uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_AMD : Is("smmu3")
            ? (uint)iommu_hw_info_type.IOMMU_HW_INFO_TYPE_ARM_SMMUV3 : 0;
        Assert.Equal(expected, info.out_data_type);
    }

    [Fact]
    public void Without_an_operation_for_it_a_nested_table_is_EOPNOTSUPP()
    {
        NeedOther();
        (_, uint id) = Bind();
        uint table = _c.HwptAlloc(id, _c.IoasAlloc());
        ulong data = 0;
        Fails(EOPNOTSUPP, _c.HwptAlloc(id, table, 0, out _, 1, (ulong)(&data), 8));
    }

    [Fact]
    public void The_emulated_container_is_coherent_where_the_driver_enforces_it()
    {
        NeedOther();
        uint ioas = _c.IoasAlloc();
        (int device, _) = Bind();
        _t.Attach(device, (int)ioas);
        var cmd = new iommu_vfio_ioas { op = 1, ioas_id = ioas };
        Ok(_c.Call(Iommufd.IOMMU_VFIO_IOAS, ref cmd));

        // AMD sets FC in every entry; SMMUv3 with CANWBS, which only ACPI can tell; RISC-V has no such operation.
        int expected = Is("riscv") || (Is("smmu3") && _t.Exists("/sys/firmware/devicetree/base")) ? 0 : 1;
        Assert.Equal(
            expected, _t.Kernel.Ioctl(_c.Fd, IommuFd.Native.Uapi.Vfio.VFIO_CHECK_EXTENSION, (nint)IommuFd.Native.Uapi.Vfio.VFIO_DMA_CC_IOMMU));
    }

    private void NeedAmd() => TestHost.Need(Is("ivhd"), "asserts what AMD's driver does; the IOMMU is of another family");

    private void NeedSmmu() => TestHost.Need(Is("smmu3"), "asserts what the SMMUv3 driver does; the IOMMU is of another family");

    private void NeedRiscv() => TestHost.Need(Is("riscv"), "asserts what the RISC-V driver does; the IOMMU is of another family");

    private void NeedOther() => TestHost.Need(!Is("dmar"), "asserts what the drivers of other families than VT-d do");

    private bool Is(string name) =>
        _t.Sysfs.List("/sys/class/iommu", out string[] units) >= 0 && units.Any(unit => unit.StartsWith(name, StringComparison.Ordinal));

    private string Reserved() => _t.Read($"/sys/kernel/iommu_groups/{_t.GroupOf(_t.Single)}/reserved_regions");

    private (ulong First, ulong Last)[] AttachedRanges()
    {
        uint ioas = _c.IoasAlloc();
        (int device, _) = Bind();
        _t.Attach(device, (int)ioas);
        return _c.Ranges(ioas);
    }

    private int Alloc(uint flags)
    {
        (_, uint id) = Bind();
        return _c.HwptAlloc(id, _c.IoasAlloc(), flags, out _);
    }

    private (int Device, uint Id) Bind()
    {
        int device = _t.OpenDevice(_t.Single);
        return (device, (uint)_t.Bind(device, _c.Fd));
    }
}
