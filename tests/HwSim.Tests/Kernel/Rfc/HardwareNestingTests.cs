using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>User-managed page tables: VT-d walks the guest's first stage and the root's second stage.</summary>
public sealed unsafe class HardwareNestingTests : IDisposable
{
    private const ulong Page = RfcMachine.Page, Size = 1 << 20;
    private readonly RfcMachine _machine = new();
    private readonly int _iommu, _gpa;
    private readonly ulong _memory;
    private readonly GuestTable _table;

    public HardwareNestingTests()
    {
        _iommu = _machine.OpenIommu();
        _gpa = _machine.Alloc(_iommu);
        _memory = _machine.Memory(Size);
        _table = new GuestTable(_memory, Size);
        Assert.Equal(0, _machine.Map(_iommu, _gpa, 0, _memory, Size));
    }

    public void Dispose() => _machine.Dispose();

    [Fact]
    [Trait("rfc", "1.1-hardware-nesting")]
    [Trait("rfc", "4.4")]
    [Trait("rfc", "INVALIDATE")]
    public void The_IOMMU_walks_the_users_table_then_the_parents()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), giova = _machine.AllocUserTable(_iommu, _gpa, _table.Root);
        *(ulong*)(_memory + 0x3000) = 0x33;
        *(ulong*)(_memory + 0x4000) = 0x44;
        _table.Map(0x20_0000_2000, 0x3000);
        Assert.Equal(0, _machine.Attach(device, _iommu, _gpa));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(0x33UL, _machine.DmaRead(RfcMachine.Edu, 0x20_0000_2000));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x3000));

        // What the unit has cached stays until the user says that the table changed.
        _table.Map(0x20_0000_2000, 0x4000);
        Assert.Equal(0x33UL, _machine.DmaRead(RfcMachine.Edu, 0x20_0000_2000));
        Assert.Equal(
            0, _machine.Invalidate(_iommu, giova, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 0x20_0000_2000, 1));
        Assert.Equal(0x44UL, _machine.DmaRead(RfcMachine.Edu, 0x20_0000_2000));

        Assert.Equal(0, _machine.Detach(device, _iommu, giova));
        Assert.Equal(0x33UL, _machine.DmaRead(RfcMachine.Edu, 0x3000));
    }

    [Fact]
    [Trait("rfc", "1.1-hardware-nesting")]
    [Trait("rfc", "1.1-shadow-follows")]
    public void A_change_of_the_parent_is_visible_below_a_users_table_at_once()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), giova = _machine.AllocUserTable(_iommu, _gpa, _table.Root);
        Assert.Equal(0, _machine.Map(_iommu, _gpa, 0x1000_0000, _machine.Memory(Page, 5), Page));
        _table.Map(0x2000, 0x1000_0000);
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(5UL, _machine.DmaRead(RfcMachine.Edu, 0x2000));
        Assert.Equal((long)Page, _machine.Unmap(_iommu, _gpa, 0x1000_0000, Page));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x2000));
        Assert.Equal(0, _machine.Map(_iommu, _gpa, 0x1000_0000, _machine.Memory(Page, 6), Page));
        Assert.Equal(6UL, _machine.DmaRead(RfcMachine.Edu, 0x2000));
    }

    [Fact]
    [Trait("rfc", "1.1-hardware-nesting")]
    public void A_users_table_may_stand_on_a_shadow()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), gpa = _machine.Alloc(_iommu, _gpa);
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x8000_0000, 0, Size));
        // The same memory, 2 GiB further up: tables and what they map.
        for (ulong entry = 0; entry < 3; entry++)
        {
            _table.Map(0x2000 + (entry * Page), 0x8000_0000 + 0x5000 + (entry * Page));
        }

        *(ulong*)(_memory + 0x6000) = 0x66;
        Relocate(0x8000_0000);
        int giova = _machine.AllocUserTable(_iommu, gpa, _table.Root + 0x8000_0000);
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(0x66UL, _machine.DmaRead(RfcMachine.Edu, 0x3000));
        Assert.Equal(Size / Page, _machine.PinnedPages);
    }

    [Fact]
    [Trait("rfc", "3.3-9")]
    public void A_users_table_needs_a_parent_of_the_same_file_and_a_root_is_kernel_managed()
    {
        Assert.Equal(-Errno.EINVAL, _machine.AllocUserTable(_iommu, IOMMU_IOASID_NO_PARENT, _table.Root));
        Assert.Equal(-Errno.EINVAL, _machine.AllocUserTable(_machine.OpenIommu(), _gpa, _table.Root));
        int giova = RfcMachine.Succeeds(_machine.AllocUserTable(_iommu, _gpa, _table.Root));
        Assert.Equal(-Errno.EINVAL, _machine.AllocUserTable(_iommu, giova, _table.Root));
        Assert.Equal(-Errno.EINVAL, _machine.Alloc(_iommu, parent: giova));
        Assert.Equal(-Errno.EBUSY, _machine.Free(_iommu, _gpa));
    }

    [Theory]
    [InlineData(iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_S1, 48)]
    [InlineData(iommu_ioasid_format.IOMMU_IOASID_FORMAT_AMD_V2, 48)]
    [InlineData(iommu_ioasid_format.IOMMU_IOASID_FORMAT_VTD_S1, 57)]
    [Trait("rfc", "3.3-8")]
    public void A_format_that_the_unit_does_not_walk_is_refused_at_attach(iommu_ioasid_format format, uint width)
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        int giova = RfcMachine.Succeeds(_machine.AllocUserTable(_iommu, _gpa, _table.Root, format: format, width: width));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, _iommu, giova));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x2000));
    }

    [Fact]
    [Trait("rfc", "GET_INFO")]
    public void Device_get_info_reports_nesting_and_formats()
    {
        _machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        var capabilities = _machine.Capabilities(_iommu, 1);
        Assert.Equal(IOMMU_DEVICE_INFO_NESTING_HW | IOMMU_DEVICE_INFO_NESTING_SW, BitConverter.ToUInt32(
            capabilities.Find(static c => c.Id == IOMMU_DEVICE_INFO_CAP_NESTING).Payload));
        byte[] formats = capabilities.Find(static c => c.Id == IOMMU_DEVICE_INFO_CAP_USER_PGTABLE).Payload;
        Assert.Equal((1, (int)iommu_ioasid_format.IOMMU_IOASID_FORMAT_VTD_S1, 48),
            (BitConverter.ToInt32(formats), BitConverter.ToInt32(formats, 8), BitConverter.ToInt32(formats, 12)));
        Assert.DoesNotContain(capabilities, static c => c.Id == IOMMU_DEVICE_INFO_CAP_USER_PASID_TABLE);
        Assert.Contains(capabilities, static c => c.Id == IOMMU_DEVICE_INFO_CAP_DIRTY);
    }

    [Fact]
    [Trait("rfc", "MAP")]
    public void Map_into_a_users_table_is_EINVAL()
    {
        int giova = _machine.AllocUserTable(_iommu, _gpa, _table.Root);
        Assert.Equal(-Errno.EINVAL, _machine.Map(_iommu, giova, 0x2000, 0x1000, Page));
        Assert.Equal(-Errno.EINVAL, _machine.Unmap(_iommu, giova, 0x2000, Page));
    }

    [Fact]
    [Trait("rfc", "INVALIDATE")]
    public void Invalidate_knows_the_pairs_of_granularity_and_cache_that_Linux_5_14_knew()
    {
        int giova = _machine.AllocUserTable(_iommu, _gpa, _table.Root);
        (iommu_inv_granularity Granularity, uint Caches)[] valid =
        [
            (iommu_inv_granularity.IOMMU_INV_GRANU_DOMAIN, IOMMU_CACHE_INV_TYPE_IOTLB | IOMMU_CACHE_INV_TYPE_PASID),
            (iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB | IOMMU_CACHE_INV_TYPE_DEV_IOTLB),
        ];
        foreach ((iommu_inv_granularity granularity, uint caches) in valid)
        {
            for (uint cache = 1; cache < 8; cache++)
            {
                int expected = (cache & ~caches) == 0 ? 0 : -Errno.EINVAL;
                Assert.Equal((granularity, cache, expected), (granularity, cache, _machine.Invalidate(
                    _iommu, giova, granularity, cache, 0x1000, granularity == 0 ? 0ul : 1)));
            }
        }

        Assert.Equal(-Errno.EINVAL, _machine.Invalidate(_iommu, giova, iommu_inv_granularity.IOMMU_INV_GRANU_DOMAIN, 0));
        Assert.Equal(
            -Errno.EINVAL, _machine.Invalidate(_iommu, giova, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 0x1000, 0));
        Assert.Equal(-Errno.EINVAL, _machine.Invalidate(_iommu, _gpa, iommu_inv_granularity.IOMMU_INV_GRANU_DOMAIN, IOMMU_CACHE_INV_TYPE_IOTLB));
    }

    // Moves the guest's table to guest addresses further up: every entry that leads to a table.
    private void Relocate(ulong by)
    {
        for (ulong table = _memory + _table.Root; table < _memory + _table.Root + (3 * Page); table += Page)
        {
            for (ulong entry = table; entry < table + Page; entry += 8)
            {
                *(ulong*)entry += *(ulong*)entry == 0 ? 0 : by;
            }
        }
    }
}
