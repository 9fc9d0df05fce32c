using IommuFd.HwSim.Devices.Pasid;
using IommuFd.Native.Uapi;

namespace IommuFd.Tests;

// Tables of the program on VT-d, and what devices wrote.
public sealed partial class PasidDeviceTests
{
    [Theory]
    [InlineData(null)]
    [InlineData(4u)]
    public void A_nested_table_goes_through_its_parent_and_is_kept_until_it_is_invalidated(uint? pasid)
    {
        using Ioas ioas = _context.AllocateIoas();
        using DmaBuffer guest = _host.AllocateBuffer(16 * 4096);
        ioas.MapFixed(guest.Address, guest.Length, DmaAccess.ReadWrite, 0);
        using HwptPaging parent = _context.AllocateHwptPaging(_device.DeviceId, ioas, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT | Pasid);

        // Four levels in guest pages 1 to 4; guest address 0x7000 is guest page 9.
        for (ulong level = 1; level <= 3; level++)
        {
            guest.At<ulong>(level * 4096) = ((level + 1) * 4096) | 7;
        }

        guest.At<ulong>((4 * 4096) + (7 * 8)) = 0x9067;
        guest.At<ulong>(0x9000) = 0xfeed;
        guest.At<ulong>(0xa000) = 0xbeef;
        iommu_hwpt_vtd_s1 config = new() { pgtbl_addr = 0x1000, addr_width = 48 };
        using HwptNested nested = _context.AllocateHwptNested(_device.DeviceId, parent, iommu_hwpt_data_type.IOMMU_HWPT_DATA_VTD_S1, config, Pasid);
        using Attachment own = pasid is null ? _device.Attach(nested) : _device.Attach(parent);
        using Attachment? other = pasid is null ? null : _device.Attach(nested, pasid);

        foreach (uint control in new uint[] { 0, 1 })
        {
            guest.At<ulong>((4 * 4096) + (7 * 8)) = 0x9067;
            _ = nested.Invalidate<iommu_hwpt_vtd_s1_invalidate>(default, new iommu_hwpt_vtd_s1_invalidate { addr = 0, npages = ulong.MaxValue });
            Assert.Equal((PasidStatus.Done, 0xfeedul), (Run(0, pasid, PasidCommand.Read, 0x7000, control), _registers.Read64(PasidDevice.Buffers)));

            // The unit's cache, or the device's own, has the old page until the program says so.
            guest.At<ulong>((4 * 4096) + (7 * 8)) = 0xa067;
            Assert.Equal((PasidStatus.Done, 0xfeedul), (Run(0, pasid, PasidCommand.Read, 0x7000, control), _registers.Read64(PasidDevice.Buffers)));
            Assert.Equal(1u, nested.Invalidate(
                iommu_hwpt_invalidate_data_type.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, new iommu_hwpt_vtd_s1_invalidate { addr = 0x7000, npages = 1 }));
            Assert.Equal((PasidStatus.Done, 0xbeeful), (Run(0, pasid, PasidCommand.Read, 0x7000, control), _registers.Read64(PasidDevice.Buffers)));
        }

        Assert.Equal(PasidStatus.Fault, Run(0, pasid, PasidCommand.Read, 0x8000));
        IommuFdException wrong = Assert.Throws<IommuFdException>(() => nested.Invalidate(
            iommu_hwpt_invalidate_data_type.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, new iommu_hwpt_vtd_s1_invalidate { addr = 0x7001, npages = 1 }));
        Assert.Equal("IOMMU_HWPT_INVALIDATE", wrong.Operation);
    }

    [Theory]
    [InlineData(0x1000ul)]
    [InlineData(0x4000ul)]
    [InlineData(0x10000ul)]
    public void Dirty_pages_come_as_ranges_of_the_size_that_was_asked_for(ulong pageSize)
    {
        using Ioas ioas = _context.AllocateIoas();
        using DmaBuffer memory = _host.AllocateBuffer(1 << 20);
        using HwptPaging table = _context.AllocateHwptPaging(_device.DeviceId, ioas, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
        ioas.SetHugePages(false);
        ioas.MapFixed(memory.Address, memory.Length, DmaAccess.ReadWrite, 0x100000);
        using Attachment attachment = _device.Attach(table);
        using DirtyTracking tracking = DirtyTracking.Start(table, pageSize);
        IovaRange all = new(0x100000, 0x1fffff);
        List<IovaRange> ranges = [];
        tracking.Collect(all, ranges);
        Assert.Empty(ranges);

        Assert.Equal(PasidStatus.Done, Run(0, null, PasidCommand.Read, 0x100000));
        Assert.Equal(PasidStatus.Done, Run(0, null, PasidCommand.Write, 0x11ff8 + 0x100000));
        Assert.Equal(PasidStatus.Done, Run(0, null, PasidCommand.Write, 0x12000 + 0x100000));
        Assert.Equal(PasidStatus.Done, Run(0, null, PasidCommand.Write, 0xf8000 + 0x100000));
        tracking.Collect(all, ranges);
        IovaRange Around(ulong first, ulong last) => new((first & ~(pageSize - 1)) + 0x100000, (last | (pageSize - 1)) + 0x100000);
        Assert.Equal([Around(0x11000, 0x12fff), Around(0xf8000, 0xf8fff)], ranges);

        ranges.Clear();
        tracking.Collect(all, ranges);
        Assert.Empty(ranges);
        Assert.Equal(PasidStatus.Done, Run(0, null, PasidCommand.Write, 0x12000 + 0x100000));
        tracking.Collect(all, ranges);
        Assert.Equal([Around(0x12000, 0x12fff)], ranges);
    }
}
