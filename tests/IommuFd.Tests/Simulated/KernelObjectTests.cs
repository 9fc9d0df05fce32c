using IommuFd.Native;
using IommuFd.Native.Uapi;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>Level 1: one class per kernel object, one method per command, against the simulated kernel.</summary>
public sealed class KernelObjectTests : IDisposable
{
    private readonly Simulated _machine = new();
    private readonly IommuContext _context;
    private readonly BoundDevice _device;
    private readonly Ioas _ioas;
    private readonly DmaBuffer _buffer;

    public KernelObjectTests()
    {
        _context = _machine.Host.OpenContext();
        _device = _machine.Host.OpenDevice(Simulated.Edu).Bind(_context, cookie: 1);
        _ioas = _context.AllocateIoas();
        _buffer = _machine.Host.AllocateBuffer(0x4000, new DmaBufferOptions { MemFd = true });
    }

    public void Dispose()
    {
        _buffer.Dispose();
        _ioas.Dispose();
        _device.Dispose();
        _context.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void Hardware_info_has_the_registers_of_the_IOMMU()
    {
        HwInfo info = _context.GetHwInfo(_device.DeviceId);
        Assert.Equal(iommu_hw_info_type.IOMMU_HW_INFO_TYPE_INTEL_VTD, info.Type);
        Assert.NotEqual(0u, info.As<iommu_hw_info_vtd>().cap_reg);
        Assert.Equal(Errno.ENOENT, Assert.Throws<IommuFdException>(() => _context.GetHwInfo(0xdead)).Errno);
    }

    [Fact]
    public void A_paging_table_can_be_attached_and_keeps_its_address_space()
    {
        HwptPaging table = _context.AllocateHwptPaging(_device.DeviceId, _ioas);
        using (Attachment attachment = _device.Attach(table))
        {
            Assert.Equal(table.Id, attachment.TableId);
            Assert.Same(table, attachment.Table);
            table.Dispose();
            _ioas.Dispose();
        }

        Assert.Equal(Errno.ENOENT, -_context.Destroy(table.Id));
        Assert.Equal(Errno.ENOENT, -_context.Destroy(_ioas.Id));
    }

    [Fact]
    public void What_the_IOMMU_cannot_do_is_refused_by_name()
    {
        IommuFdException refused = Assert.Throws<IommuFdException>(
            () => _context.AllocateHwptPaging(_device.DeviceId, _ioas, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING));
        Assert.Equal("IOMMU_HWPT_ALLOC", refused.Operation);
        Assert.Equal(FailureCause.NotSupported, refused.Cause);
    }

    [Fact]
    public void A_copy_shares_the_memory_and_may_not_do_more()
    {
        using Ioas other = _context.AllocateIoas();
        ulong source = _ioas.Map(_buffer.Address, _buffer.Length, DmaAccess.Read);
        ulong copy = other.Copy(_ioas, source, _buffer.Length, DmaAccess.Read);
        Assert.Equal(_buffer.Length, other.Unmap(copy, _buffer.Length));
        Assert.Equal(
            FailureCause.ReadOnlyMemory, Assert.Throws<IommuFdException>(() => other.Copy(_ioas, source, 0x1000, DmaAccess.ReadWrite)).Cause);
        other.CopyFixed(_ioas, source, _buffer.Length, DmaAccess.Read, 0x100000);
        Assert.Equal(FailureCause.IovaTaken, Assert.Throws<IommuFdException>(() =>
            other.CopyFixed(_ioas, source, _buffer.Length, DmaAccess.Read, 0x100000)).Cause);
    }

    [Fact]
    public void A_memfd_is_mapped_as_a_file()
    {
        ulong iova = _ioas.MapFile(_buffer.File!, 0x1000, 0x2000, DmaAccess.ReadWrite);
        Assert.Equal(0x2000u, _ioas.Unmap(iova, 0x2000));
        _ = _ioas.MapFile(_buffer.File!, 0, 0x1000, DmaAccess.Read, 0x200000);
        Assert.Equal(0x1000u, _ioas.Unmap(0, ulong.MaxValue));
    }

    [Fact]
    public void Allowed_ranges_are_a_promise()
    {
        _ioas.AllowIovas(new IovaRange(0x100000, 0x1fffff));
        Assert.InRange(_ioas.Map(_buffer.Address, 0x1000, DmaAccess.Read), 0x100000u, 0x1ff000u);
        _ioas.AllowIovas();
        _ = _ioas.Unmap(0, ulong.MaxValue);
    }

    [Fact]
    public void Options_are_read_and_written()
    {
        Assert.True(_ioas.GetHugePages());
        _ioas.SetHugePages(false);
        Assert.False(_ioas.GetHugePages());
        Assert.False(_context.GetRlimitMode());
        Assert.Equal(FailureCause.TooLate, Assert.Throws<IommuFdException>(() => _context.SetRlimitMode(true)).Cause);
    }

    [Fact]
    public void The_container_emulation_has_an_address_space()
    {
        _context.SetVfioIoas(_ioas);
        Assert.Equal(_ioas.Id, _context.GetVfioIoas());
        _context.SetVfioIoas(null);
        _ = Assert.Throws<IommuFdException>(() => _context.GetVfioIoas());
    }

    [Fact]
    public async Task A_fault_queue_is_empty_until_a_device_asks()
    {
        using FaultQueue faults = _context.AllocateFaultQueue();
        Assert.Equal(0, faults.Read(new iommu_hwpt_pgfault[4]));
        using CancellationTokenSource source = new(TimeSpan.FromMilliseconds(30));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await faults.WaitAsync(source.Token));
        _ = Assert.Throws<IommuFdException>(() => faults.Respond(new iommu_hwpt_page_response { cookie = 99 }));
    }

    [Fact]
    public void Change_process_needs_file_mappings_only()
    {
        _ = _ioas.MapFile(_buffer.File!, 0, 0x1000, DmaAccess.Read);
        _context.ChangeProcess();
    }

    [Fact]
    public void A_device_without_a_feature_says_so()
    {
        Assert.False(_device.Calls.HasFeature(Vfio.VFIO_DEVICE_FEATURE_MIGRATION, get: true));
        IommuFdException refused = Assert.Throws<IommuFdException>(_device.OpenMigration);
        Assert.Equal(FailureCause.NotSupported, refused.Cause);
        Assert.Contains("VFIO_DEVICE_FEATURE_MIGRATION", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_device_without_graphics_has_no_plane_and_no_buffer_of_one()
    {
        vfio_device_gfx_plane_info plane = default;
        Assert.Equal(Errno.ENOTTY, Assert.Throws<IommuFdException>(() => _device.Calls.QueryGfxPlane(ref plane)).Errno);
        Assert.Equal(Errno.ENOTTY, Assert.Throws<IommuFdException>(() => _device.Calls.GetGfxDmaBuf(0)).Errno);
    }

    [Fact]
    public void A_hot_reset_lists_everyone_it_hits_and_needs_them_all()
    {
        using BoundDevice first = _machine.Host.OpenDevice(Simulated.PairFirst).Bind(_context, cookie: 2);
        HotResetInfo info = first.Calls.GetHotResetInfo();
        Assert.Contains(info.Devices, static d => d.Address == Simulated.PairFirst);
        Assert.Contains(info.Devices, static d => d.Address == Simulated.PairSecond);
        Assert.Equal(first.DeviceId, info.Devices.Single(static d => d.Address == Simulated.PairFirst).DeviceId);
        if (info.IsOwned)
        {
            first.Calls.HotReset();
        }
    }

    [Fact]
    public void The_region_and_interrupt_tables_are_the_devices()
    {
        DeviceInfo info = _device.Calls.GetInfo();
        Assert.True(info.IsPci);
        Assert.False(info.CanReset); // conventional PCI on the root bus: no FLR, no PM reset, no bus of its own
        Assert.Equal(1u << 20, (uint)_device.Calls.GetRegionInfo(0).Size);
        Assert.Equal(0u, _device.Calls.GetRegionInfo(1).Size);
        Assert.Equal(1u, _device.Calls.GetIrqInfo(InterruptKind.Msi).Count);
        Assert.Equal(Errno.EINVAL, Assert.Throws<IommuFdException>(() => _device.Calls.GetRegionInfo(99)).Errno);
        Assert.Equal(FailureCause.NotSupported, Assert.Throws<IommuFdException>(_device.Reset).Cause);
    }

    [Fact]
    public void Group_and_container_reach_the_same_device()
    {
        Assert.SkipUnless(_machine.Host.Sysfs.Status("/dev/vfio/vfio", out _) >= 0, "the simulated machine has no legacy VFIO yet");
        _device.Dispose();
        int number = new PciBus(_machine.Host.Sysfs).Find(Simulated.Edu)!.Group!.Value;
        using VfioContainer container = VfioContainer.Open(_machine.Host);
        Assert.Equal(0, container.GetApiVersion());
        Assert.True(container.CheckExtension(Vfio.VFIO_TYPE1v2_IOMMU));
        using VfioGroup group = VfioGroup.Open(_machine.Host, number);
        Assert.Equal(Vfio.VFIO_GROUP_FLAGS_VIABLE, group.GetStatus());
        group.SetContainer(container);
        container.SetIommu(Vfio.VFIO_TYPE1v2_IOMMU);
        ContainerInfo info = container.GetInfo();
        Assert.NotEmpty(info.IovaRanges);
        container.MapDma(_buffer.Address, 0x1000, DmaAccess.ReadWrite, 0x100000);
        Assert.Equal(FailureCause.IovaTaken, Assert.Throws<IommuFdException>(() =>
            container.MapDma(_buffer.Address, 0x1000, DmaAccess.ReadWrite, 0x100000)).Cause);
        using (VfioDeviceHandle handle = group.GetDevice(Simulated.Edu.ToString()))
        {
            Assert.True(new VfioDeviceCalls(handle).GetInfo().IsPci);
        }

        Assert.Equal(FailureCause.NoSuchObject, Assert.Throws<IommuFdException>(() => group.GetDevice("0000:00:1e.0")).Cause);
        Assert.Equal(0x1000u, container.UnmapDma(0x100000, 0x1000));
        group.UnsetContainer();
    }
}
