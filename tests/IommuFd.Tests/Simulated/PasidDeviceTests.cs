using IommuFd.HwSim.Devices.Pasid;
using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>A device with PASIDs, translations of its own and page requests, through the library, the kernel's rules and VT-d's tables.</summary>
public sealed partial class PasidDeviceTests : IDisposable
{
    private const iommufd_hwpt_alloc_flags Pasid = iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID;
    private static readonly PciAddress Address = PciAddress.Parse("0000:00:08.0");

    private readonly SimulatedHost _machine = new(Topology.ByName("intel-scalable"));
    private readonly IommuHost _host;
    private readonly IommuContext _context;
    private readonly BoundDevice _device;
    private readonly Bar _registers;
    private readonly DmaBuffer _buffer;

    public PasidDeviceTests()
    {
        _host = IommuHost.Over(_machine);
        DriverBinder binder = new(_machine.Sysfs, new MemoryBindingStore());
        Assert.Null(binder.Apply(binder.PlanBind([Address], DriverClaim.VfioPci)));
        _context = _host.OpenContext();
        _device = _host.OpenDevice(Address).Bind(_context, cookie: 0xa51d);
        using ConfigSpace config = _device.OpenConfigSpace();
        config.EnableBusMaster();
        _registers = _device.OpenBar(0);
        _buffer = _host.AllocateBuffer(0x4000);
    }

    public void Dispose()
    {
        _registers.Dispose();
        _device.Dispose();
        _context.Dispose();
        _buffer.Dispose();
        _host.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void The_hardware_info_says_how_many_PASIDs_there_are()
    {
        HwInfo info = _context.GetHwInfo(_device.DeviceId);
        Assert.Equal(20, info.MaxPasidLog2);
        Assert.False(info.Capabilities.HasFlag(iommufd_hw_capabilities.IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED));
        Assert.Equal(7u, _registers.Read32(PasidRegister.Features) & 7);
    }

    [Fact]
    public void The_capabilities_that_belong_to_the_IOMMU_driver_survive_the_reset_of_an_open()
    {
        _registers.Dispose();
        _device.Reset();
        using Bar again = _device.OpenBar(0);
        Assert.Equal(7u, again.Read32(PasidRegister.Features) & 7);
    }

    [Fact]
    public void Each_PASID_has_an_address_space_of_its_own()
    {
        using Ioas first = _context.AllocateIoas(), second = _context.AllocateIoas();
        using HwptPaging own = _context.AllocateHwptPaging(_device.DeviceId, first, Pasid),
            other = _context.AllocateHwptPaging(_device.DeviceId, second, Pasid);
        first.MapFixed(_buffer.Address, 0x1000, DmaAccess.ReadWrite, 0x10000);
        second.MapFixed(_buffer.Address + 0x1000, 0x1000, DmaAccess.ReadWrite, 0x10000);
        using Attachment attachment = _device.Attach(own), pasid = _device.Attach(other, pasid: 77);
        _buffer.At<ulong>(0) = 0x1111;
        _buffer.At<ulong>(0x1000) = 0x7777;
        Assert.Equal((PasidStatus.Done, 0x1111ul), (Run(0, null, PasidCommand.Read, 0x10000), _registers.Read64(PasidDevice.Buffers)));
        Assert.Equal((PasidStatus.Done, 0x7777ul), (Run(1, 77, PasidCommand.Read, 0x10000), _registers.Read64(PasidDevice.Buffers + 0x1000)));
        Assert.Equal(PasidStatus.Fault, Run(2, 78, PasidCommand.Read, 0x10000));
        _registers.Write64(PasidDevice.Buffers + 0x1000, 0xdada);
        Assert.Equal(PasidStatus.Done, Run(1, 77, PasidCommand.Write, 0x10800));
        Assert.Equal(0xdadaul, _buffer.At<ulong>(0x1800));
        pasid.Dispose();
        Assert.Equal(PasidStatus.Fault, Run(1, 77, PasidCommand.Read, 0x10000));
        Assert.Equal(PasidStatus.Done, Run(0, null, PasidCommand.Read, 0x10000));
    }

    [Fact]
    public void A_translation_is_kept_until_the_kernel_invalidates_it()
    {
        using Ioas ioas = _context.AllocateIoas();
        using HwptPaging table = _context.AllocateHwptPaging(_device.DeviceId, ioas, Pasid);
        ioas.MapFixed(_buffer.Address, 0x4000, DmaAccess.ReadWrite, 0x10000);
        using Attachment attachment = _device.Attach(table), pasid = _device.Attach(table, pasid: 5);
        foreach (uint? number in new uint?[] { null, 5 })
        {
            Assert.Equal(PasidStatus.Done, Run(3, number, PasidCommand.Write, 0x10000, control: 1));
            uint hits = Channel(3, PasidRegister.CacheHits);
            Assert.Equal(PasidStatus.Done, Run(3, number, PasidCommand.Write, 0x10010, control: 1));
            Assert.Equal(PasidStatus.Done, Run(3, number, PasidCommand.Read, 0x10010, control: 1));
            Assert.Equal(hits + 2, Channel(3, PasidRegister.CacheHits));
        }

        uint invalidations = Channel(3, PasidRegister.Invalidations);
        _ = ioas.Unmap(0x10000, 0x4000);
        Assert.Equal(invalidations + 2, Channel(3, PasidRegister.Invalidations));
        Assert.Equal(PasidStatus.Fault, Run(3, null, PasidCommand.Read, 0x10000, control: 1));
        Assert.Equal(PasidStatus.Fault, Run(3, 5, PasidCommand.Read, 0x10000, control: 1));
    }

    [Fact]
    public void Without_PASID_ATS_or_PRI_a_command_is_refused_by_the_device()
    {
        using SimulatedHost machine = new(Topology.ByName("intel-scalable"));
        PasidDevice silicon = (PasidDevice)machine.Device("0000:00:08.0")!;
        silicon.Reset();
        silicon.WriteConfig(4, 2, 6);
        silicon.WriteBar(0, PasidRegister.Length, 4, 8);
        silicon.WriteBar(0, PasidRegister.Pasid, 4, 1u << 31 | 5);
        silicon.WriteBar(0, PasidRegister.Command, 4, (ulong)PasidCommand.Read);
        Assert.Equal(PasidStatus.Unsupported, (PasidStatus)silicon.ReadBar(0, PasidRegister.Status, 4));
    }

    [Theory]
    [InlineData(null)]
    [InlineData(9u)]
    public async Task A_page_that_is_missing_is_asked_for_mapped_and_reached(uint? pasid)
    {
        using Ioas ioas = _context.AllocateIoas();
        using FaultQueue faults = _context.AllocateFaultQueue();
        using HwptPaging table = _context.AllocateHwptPaging(_device.DeviceId, ioas, Pasid, faults);
        using Attachment attachment = _device.Attach(table);
        using Attachment? second = pasid is null ? null : _device.Attach(table, pasid);
        _registers.Write64(PasidDevice.Buffers + 0x2000, 0xfeed);
        Assert.Equal(PasidStatus.Busy, Run(2, pasid, PasidCommand.Write, 0x20008, control: 3));

        await foreach (PageRequest request in faults.ReadAllAsync(Limit()))
        {
            Assert.Equal((0xa51dul, pasid, 2u), (request.Cookie!.Value, request.Pasid, request.Group));
            FaultingPage page = Assert.Single(request.Pages);
            Assert.Equal((0x20000ul, iommu_hwpt_pgfault_perm.IOMMU_PGFAULT_PERM_READ | iommu_hwpt_pgfault_perm.IOMMU_PGFAULT_PERM_WRITE),
                (page.Address, page.Access));
            ioas.MapFixed(_buffer.Address, 0x1000, DmaAccess.ReadWrite, page.Address);
            request.Complete();
            break;
        }

        Assert.Equal(PasidStatus.Done, Finish(2));
        Assert.Equal(0xfeedul, _buffer.At<ulong>(8));
    }

    [Fact]
    public void A_request_that_is_not_answered_is_refused_and_the_device_goes_on()
    {
        using Ioas ioas = _context.AllocateIoas();
        using FaultQueue faults = _context.AllocateFaultQueue();
        using HwptPaging table = _context.AllocateHwptPaging(_device.DeviceId, ioas, 0, faults);
        Attachment attachment = _device.Attach(table);
        Assert.Equal(PasidStatus.Busy, Run(0, null, PasidCommand.Read, 0x20000, control: 3));
        using (PageRequest? forgotten = faults.ReadRequest(TimeSpan.FromSeconds(10)))
        {
            Assert.NotNull(forgotten);
        }

        Assert.Equal(PasidStatus.Refused, Finish(0));

        // What nobody read is refused when the attachment ends.
        Assert.Equal(PasidStatus.Busy, Run(1, null, PasidCommand.Read, 0x30000, control: 3));
        attachment.Dispose();
        Assert.Equal(PasidStatus.Refused, Finish(1));
        Assert.False(faults.TryReadRequest(out _));
    }

    [Fact]
    public void Without_a_fault_queue_page_requests_are_invalid()
    {
        using Ioas ioas = _context.AllocateIoas();
        using HwptPaging table = _context.AllocateHwptPaging(_device.DeviceId, ioas);
        using Attachment attachment = _device.Attach(table);
        Assert.Equal(PasidStatus.Refused, Run(4, null, PasidCommand.RequestPage, 0x20000));
        Assert.Equal(1u << 31 | 1, Channel(4, PasidRegister.Response));
    }

    [Fact]
    public void A_table_with_a_fault_queue_takes_only_devices_that_ask()
    {
        PciAddress edu = Simulated.Edu;
        DriverBinder binder = new(_machine.Sysfs, new MemoryBindingStore());
        Assert.Null(binder.Apply(binder.PlanBind([edu], DriverClaim.VfioPci)));
        using BoundDevice other = _host.OpenDevice(edu).Bind(_context, cookie: 2);
        using Ioas ioas = _context.AllocateIoas();
        using FaultQueue faults = _context.AllocateFaultQueue();
        using HwptPaging table = _context.AllocateHwptPaging(other.DeviceId, ioas, 0, faults);
        Assert.Equal(Errno.ENODEV, Assert.Throws<IommuFdException>(() => other.Attach(table)).Errno);
    }

    [Fact]
    public async Task A_command_ends_with_the_interrupt_of_its_channel()
    {
        using Ioas ioas = _context.AllocateIoas();
        using HwptPaging table = _context.AllocateHwptPaging(_device.DeviceId, ioas);
        ioas.MapFixed(_buffer.Address, 0x1000, DmaAccess.ReadWrite, 0);
        using Attachment attachment = _device.Attach(table);
        using InterruptSet interrupts = _device.EnableInterrupts(InterruptKind.Msix, 16);
        ValueTask<ulong> wait = interrupts[7].WaitAsync(Limit());
        Assert.Equal(PasidStatus.Done, Run(7, null, PasidCommand.Read, 0, control: 4));
        Assert.Equal(1u, await wait);
    }

    private uint Channel(int channel, int register) => _registers.Read32(((ulong)channel * 0x1000) + (ulong)register);

    private PasidStatus Run(int channel, uint? pasid, PasidCommand command, ulong iova, uint control = 0)
    {
        ulong page = (ulong)channel * 0x1000;
        _registers.Write32(page + PasidRegister.Pasid, pasid is { } number ? number | 1u << 31 : 0);
        _registers.Write32(page + PasidRegister.Control, control);
        _registers.Write64(page + PasidRegister.Iova, iova);
        _registers.Write32(page + PasidRegister.Length, 8);
        _registers.Write32(page + PasidRegister.Offset, 0);
        _registers.Write32(page + PasidRegister.Command, (uint)command);
        return (PasidStatus)Channel(channel, PasidRegister.Status);
    }

    private PasidStatus Finish(int channel)
    {
        PasidStatus status;
        for (long end = Environment.TickCount64 + 10_000; (status = (PasidStatus)Channel(channel, PasidRegister.Status)) == PasidStatus.Busy
            && Environment.TickCount64 < end;)
        {
            Thread.Sleep(1);
        }

        return status;
    }

    private static CancellationToken Limit() => new CancellationTokenSource(TimeSpan.FromSeconds(20)).Token;
}
