using IommuFd.Native.Uapi;

namespace IommuFd.Tests;

/// <summary>
/// A slice of an SMMUv3 for a virtual machine: its tables in its memory, its commands forwarded, its faults as a stream; the edu device does the DMA.
/// </summary>
public sealed class VirtualSmmuTests : IDisposable
{
    private const ulong VirtualStream = 0x42, Terminal = 0x743, ContextDescriptor = 0x1000;
    private readonly Simulated _machine = new("arm-smmuv3");
    private readonly IommuContext _context;
    private readonly BoundDevice _device;
    private readonly Bar _edu;
    private readonly DmaBuffer _guest;
    private readonly Ioas _ioas;
    private readonly HwptPaging _parent;
    private readonly VirtualIommu _iommu;

    public VirtualSmmuTests()
    {
        _context = _machine.Host.OpenContext();
        _device = _machine.Host.OpenDevice(Simulated.Edu).Bind(_context, cookie: 0xed);
        using ConfigSpace config = _device.OpenConfigSpace();
        config.EnableBusMaster();
        _edu = _device.OpenBar(0);
        _guest = _machine.Host.AllocateBuffer(1 << 20);
        _ioas = _context.AllocateIoas();
        _ioas.MapFixed(_guest.Address, _guest.Length, DmaAccess.ReadWrite, 0);
        _parent = _context.AllocateHwptPaging(_device.DeviceId, _ioas, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT);
        _iommu = _context.AllocateVirtualIommu(_device.DeviceId, _parent, iommu_viommu_type.IOMMU_VIOMMU_TYPE_ARM_SMMUV3);

        // A context descriptor, four levels of tables from 0x2000 on; the guest's 0x7000 is its page 9.
        _guest.At<ulong>(ContextDescriptor) =
            16UL | (1 << 8) | (1 << 10) | (3 << 12) | (1UL << 30) | (1UL << 31) | (5UL << 32) | (1UL << 41) | (7UL << 45) | (3UL << 48);
        _guest.At<ulong>(ContextDescriptor + 8) = 0x2000;
        _guest.At<ulong>(0x2000) = 0x3003;
        _guest.At<ulong>(0x3000) = 0x4003;
        _guest.At<ulong>(0x4000) = 0x5003;
        _guest.At<ulong>(0x5000 + (7 * 8)) = 0x9000 | Terminal;
        _guest.At<ulong>(0x9000) = 0xfeed;
        _guest.At<ulong>(0xa000) = 0xbeef;
    }

    public void Dispose()
    {
        _edu.Dispose();
        _iommu.Dispose();
        _parent.Dispose();
        _ioas.Dispose();
        _device.Dispose();
        _context.Dispose();
        _guest.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void DMA_goes_through_the_guest_s_table_until_the_guest_invalidates()
    {
        using VirtualDevice virtualDevice = _iommu.AllocateVirtualDevice(_device.DeviceId, VirtualStream);
        Assert.Equal((_device.DeviceId, VirtualStream), (virtualDevice.DeviceId, virtualDevice.VirtualId));
        using HwptNested table = AllocateTable();
        using Attachment attachment = _device.Attach(table);
        Assert.Equal(0xfeedul, Read(0x7000));
        _guest.At<ulong>(0x5000 + (7 * 8)) = 0xa000 | Terminal;
        Assert.Equal(0xfeedul, Read(0x7000));
        iommu_viommu_arm_smmuv3_invalidate all = default;
        Set(ref all, 0x11 | (3UL << 48), 0); // TLBI_NH_ASID
        Assert.Equal(1u, _iommu.Invalidate(iommu_hwpt_invalidate_data_type.IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, all));
        Assert.Equal(0xbeeful, Read(0x7000));
    }

    [Fact]
    public async Task An_interrupt_goes_through_the_guest_s_table_and_then_to_the_page_that_the_kernel_keeps_in_the_parent()
    {
        const ulong window = 0x800_0000;
        using VirtualDevice virtualDevice = _iommu.AllocateVirtualDevice(_device.DeviceId, VirtualStream);
        using HwptNested table = AllocateTable();
        using Attachment attachment = _device.Attach(table);
        using InterruptSet interrupts = _device.EnableInterrupts(InterruptKind.Msi);

        // The guest does not lead the window to itself yet: the message is refused, as the guest's fault.
        _edu.Write32(0x60, 1);
        Assert.Equal(0ul, interrupts[0].Wait(TimeSpan.FromMilliseconds(10)));
        _guest.At<ulong>(0x4000 + (64 * 8)) = 0x6003;
        _guest.At<ulong>(0x6000) = window | Terminal;
        _edu.Write32(0x64, uint.MaxValue);
        _edu.Write32(0x60, 1);
        Assert.True(await interrupts[0].WaitAsync(TestContext.Current.CancellationToken) > 0);
    }

    [Fact]
    public void A_command_that_a_guest_may_not_give_says_how_many_were_done_before_it()
    {
        using VirtualDevice virtualDevice = _iommu.AllocateVirtualDevice(_device.DeviceId, VirtualStream);
        iommu_viommu_arm_smmuv3_invalidate good = default, sync = default;
        Set(ref good, 0x30, 0);
        Set(ref sync, 0x46, 0);
        IommuFdException refused = Assert.Throws<IommuFdException>(
            () => _iommu.Invalidate(iommu_hwpt_invalidate_data_type.IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, good, good, sync));
        Assert.Contains(refused.Evidence, static e => e == new Evidence("handled", "2 of 3"));
    }

    [Fact]
    public async Task The_guest_s_faults_come_as_events_with_its_own_number_of_the_device()
    {
        using VirtualDevice virtualDevice = _iommu.AllocateVirtualDevice(_device.DeviceId, VirtualStream);
        using VirtualEventQueue events = _iommu.AllocateEventQueue(iommu_veventq_type.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, depth: 4);
        using HwptNested table = AllocateTable();
        using Attachment attachment = _device.Attach(table);
        Assert.False(events.TryReadEvent(out _));
        ValueTask wait = events.WaitAsync(TestContext.Current.CancellationToken);
        _ = Read(0x8008);
        await wait;
        await foreach (VirtualEvent fault in events.ReadAllAsync(TestContext.Current.CancellationToken))
        {
            Assert.Equal((0u, false), (fault.Sequence, fault.IsLost));
            iommu_vevent_arm_smmuv3 record = fault.As<iommu_vevent_arm_smmuv3>();
            Assert.Equal((0x10ul | (VirtualStream << 32), 0x8008ul), (record.evt[0], record.evt[2])); // F_TRANSLATION
            break;
        }

        // More than the queue holds: what is lost is told.
        for (ulong i = 0; i < 8; i++)
        {
            _ = Read(0x10000 + (i * 0x1000));
        }

        List<VirtualEvent> seen = [];
        while (events.TryReadEvent(out VirtualEvent? next))
        {
            seen.Add(next);
        }

        Assert.Equal(4, seen.Count(static e => !e.IsLost));
        Assert.True(seen[^1].IsLost);
        Assert.Null(events.ReadEvent(TimeSpan.FromMilliseconds(1)));
    }

    [Fact]
    public void What_is_built_on_the_virtual_IOMMU_keeps_it_and_it_keeps_its_parent()
    {
        VirtualDevice virtualDevice = _iommu.AllocateVirtualDevice(_device.DeviceId, VirtualStream);
        HwptNested table = AllocateTable();
        _parent.Dispose();
        _iommu.Dispose();
        using (Attachment attachment = _device.Attach(table))
        {
            Assert.Equal(0xfeedul, Read(0x7000));
        }

        table.Dispose();
        virtualDevice.Dispose();
        Assert.Equal(-Native.Errno.ENOENT, _context.Destroy(_parent.Id));
    }

    private static unsafe void Set(ref iommu_viommu_arm_smmuv3_invalidate command, ulong low, ulong high)
    {
        // SAFETY: two words inside the struct.
        (command.cmd[0], command.cmd[1]) = (low, high);
    }

    private unsafe HwptNested AllocateTable()
    {
        // SAFETY: two words inside the struct.
        iommu_hwpt_arm_smmuv3 entry = default;
        (entry.ste[0], entry.ste[1]) = (1 | (5 << 1) | ContextDescriptor, 0xd4);
        return _iommu.AllocateHwptNested(_device.DeviceId, iommu_hwpt_data_type.IOMMU_HWPT_DATA_ARM_SMMUV3, entry);
    }

    // The edu device copies 8 bytes into its buffer, then to the guest's page 0x20, which is only for this and mapped as 0x20000 in the guest's
    // table.
    private ulong Read(ulong iova)
    {
        _guest.At<ulong>(0x5000 + (0x20 * 8)) = 0x20000 | Terminal;
        _guest.At<ulong>(0x20000) = 0;
        Dma(iova, 0x40000, 1);
        Dma(0x40000, 0x20000, 3);
        return _guest.At<ulong>(0x20000);
    }

    private void Dma(ulong source, ulong destination, ulong command)
    {
        _edu.Write64(0x80, source);
        _edu.Write64(0x88, destination);
        _edu.Write64(0x90, 8);
        _edu.Write64(0x98, command);
        while ((_edu.Read64(0x98) & 1) != 0)
        {
            Thread.Yield();
        }
    }
}
