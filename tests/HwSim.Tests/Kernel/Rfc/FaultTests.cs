using IommuFd.HwSim.Devices.Pasid;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Page faults: from the device through the unit's page request queue to the user by cookie and vPASID, and back.</summary>
public sealed unsafe class FaultTests : IDisposable
{
    private const ulong Page = RfcMachine.Page, Size = 1 << 20, Address = 0x7f00_0000_1000;
    private readonly RfcMachine _machine = new();
    private readonly int _iommu, _device, _gpa, _gva, _eventfd;
    private readonly ulong _memory;
    private readonly GuestTable _table;
    private readonly RfcChannel _channel;

    public FaultTests()
    {
        _iommu = _machine.OpenIommu();
        _device = _machine.OpenBound(RfcMachine.Accelerator, _iommu, 0xc0ffee);
        _gpa = _machine.Alloc(_iommu);
        _memory = _machine.Memory(Size);
        _table = new GuestTable(_memory, Size);
        Assert.Equal(0, _machine.Map(_iommu, _gpa, 0, _memory, Size));
        Assert.Equal(0, _machine.Attach(_device, _iommu, _gpa));
        _gva = RfcMachine.Succeeds(_machine.AllocUserTable(_iommu, _gpa, _table.Root, IOMMU_IOASID_FAULT));
        Assert.Equal(0, _machine.Attach(_device, _iommu, _gva, vpasid: 42));
        _eventfd = RfcMachine.Succeeds(_machine.Kernel.EventFd(0, 0x800));
        _channel = new RfcChannel(_machine, _device);
    }

    public void Dispose()
    {
        _ = _machine.Kernel.Close(_eventfd);
        _machine.Dispose();
    }

    [Fact]
    [Trait("rfc", "4.6")]
    [Trait("rfc", "FAULT_REGION")]
    [Trait("rfc", "FAULT_COMPLETE")]
    [Trait("rfc", "1.2-cookie")]
    public void A_page_fault_is_reported_by_cookie_and_vPASID_and_the_device_goes_on_after_its_completion()
    {
        int region = Region();
        Assert.False(_machine.IsReadable(region));
        *(ulong*)(_memory + 0x5000) = 0x55;
        _channel.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        Assert.Equal(PasidStatus.Busy, _channel.Status);
        Assert.True(_machine.IsReadable(region));
        Assert.True(_machine.IsReadable(_eventfd));
        iommu_ioasid_fault fault = Read(region);
        Assert.Equal((_gva, 0xc0ffeeUL, Address, 42u), (fault.ioasid, fault.cookie, fault.addr, fault.vpasid));
        Assert.Equal(IOMMU_IOASID_FAULT_PASID_VALID | IOMMU_IOASID_FAULT_LAST_PAGE, fault.flags);
        Assert.Equal(IOMMU_FAULT_PERM_READ, fault.perm);
        Assert.False(_machine.IsReadable(region));

        _table.Map(Address, 0x5000);
        Assert.Equal(-Errno.EINVAL, Complete(fault with { cookie = 1 }));
        Assert.Equal(-Errno.EINVAL, Complete(fault with { fault_id = fault.fault_id + 1 }));
        Assert.Equal(0, Complete(fault));
        Assert.Equal(PasidStatus.Done, _channel.Wait());
        Assert.Equal(0x55UL, _channel.Buffer);
        Assert.Equal(-Errno.EINVAL, Complete(fault));
    }

    [Theory]
    [InlineData(iommu_page_response_code.IOMMU_PAGE_RESP_INVALID)]
    [InlineData(iommu_page_response_code.IOMMU_PAGE_RESP_FAILURE)]
    [Trait("rfc", "FAULT_COMPLETE")]
    public void A_completion_that_refuses_ends_the_DMA(iommu_page_response_code code)
    {
        int region = Region();
        _channel.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        Assert.Equal(0, Complete(Read(region), code));
        Assert.Equal(PasidStatus.Refused, _channel.Wait());
    }

    [Fact]
    [Trait("rfc", "FAULT_REGION")]
    public void Without_a_region_and_when_it_is_full_the_kernel_refuses_and_the_loss_is_told()
    {
        _channel.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        Assert.Equal(PasidStatus.Refused, _channel.Wait());
        int region = Region(records: 1);
        _channel.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        var second = new RfcChannel(_machine, _device, 1);
        second.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        Assert.Equal(PasidStatus.Refused, second.Wait());
        _ = Read(region);
        second.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        Assert.NotEqual(0u, Read(region).flags & IOMMU_IOASID_FAULT_LOST);
    }

    [Fact]
    [Trait("rfc", "FAULT_REGION")]
    public void A_region_is_made_once_for_an_ioasid_that_takes_faults_and_closing_it_answers_what_waits()
    {
        Assert.Equal(-Errno.EINVAL, TryRegion(_gpa, 16, out _));
        int region = Region();
        Assert.Equal(-Errno.EBUSY, TryRegion(_gva, 16, out _));
        _channel.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        Assert.Equal(PasidStatus.Busy, _channel.Status);
        Assert.Equal(0, _machine.Kernel.Close(region));
        Assert.Equal(PasidStatus.Refused, _channel.Wait());
        _ = Region();
    }

    [Fact]
    [Trait("rfc", "FAULT_REGION")]
    public void A_region_that_is_mapped_is_a_ring_whose_tail_is_the_users()
    {
        int region = Region(records: 2);
        _channel.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        byte* ring = Map(region);
        var head = (iommu_ioasid_fault_ring*)ring;
        Assert.Equal(
            (1UL, 0UL, 2u, (uint)sizeof(iommu_ioasid_fault), 4096u), (head->head, head->tail, head->nr_records, head->record_size, head->offset));
        var records = (iommu_ioasid_fault*)(ring + head->offset);
        Assert.Equal((_gva, 0xc0ffeeUL, Address, 42u), (records[0].ioasid, records[0].cookie, records[0].addr, records[0].vpasid));
        _table.Map(Address, 0x5000);
        Assert.Equal(0, Complete(records[0]));
        Assert.Equal(PasidStatus.Done, _channel.Wait());
        head->tail++;

        // Beside it, read(2) takes from the same ring; a full one loses, and the record after the loss tells it.
        var second = new RfcChannel(_machine, _device, 1);
        _channel.Start(PasidCommand.Read, Address + Page, 42, RfcChannel.Pri);
        second.Start(PasidCommand.Read, Address + Page, 42, RfcChannel.Pri);
        Assert.Equal((3UL, 1UL), (head->head, head->tail));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, Address + Page, 42));
        Assert.Equal(Address + Page, Read(region).addr);
        Assert.Equal((3UL, 2UL), (head->head, head->tail));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, Address + Page, 42));
        Assert.NotEqual(0u, records[3 % 2].flags & IOMMU_IOASID_FAULT_LOST);

        // What is answered otherwise is marked, and read(2) passes it over.
        Assert.Equal(0, _machine.Detach(_device, _iommu, _gva, vpasid: 42));
        Assert.Equal(IOMMU_IOASID_FAULT_ENDED, records[2 % 2].flags & IOMMU_IOASID_FAULT_ENDED);
        Assert.Equal(IOMMU_IOASID_FAULT_UNRECOVERABLE, Read(region).flags & IOMMU_IOASID_FAULT_UNRECOVERABLE);
        Assert.Equal((4UL, 4UL), (head->head, head->tail));
        Assert.False(_machine.IsReadable(region));
    }

    [Fact]
    [Trait("rfc", "FAULT_REGION")]
    public void A_tail_that_cannot_be_leaves_no_room_and_the_kernel_goes_on()
    {
        int region = Region(records: 2);
        var head = (iommu_ioasid_fault_ring*)Map(region);
        (head->tail, head->offset, head->nr_records, head->head) = (77, 1 << 30, 1000, 5);
        _channel.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        Assert.Equal(PasidStatus.Refused, _channel.Wait());
        iommu_ioasid_fault fault;
        Assert.Equal(0, _machine.Kernel.Read(region, (nint)(&fault), (nuint)sizeof(iommu_ioasid_fault)));
        head->tail = 0;
        _channel.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        Assert.NotEqual(0u, Read(region).flags & IOMMU_IOASID_FAULT_LOST);
    }

    [Theory]
    [InlineData(Libc.MAP_PRIVATE, 3, 8192, 0)]
    [InlineData(Libc.MAP_SHARED, 7, 8192, 0)]
    [InlineData(Libc.MAP_SHARED, 3, 8192, 4096)]
    [InlineData(Libc.MAP_SHARED, 3, 12288, 0)]
    [Trait("rfc", "FAULT_REGION")]
    public void A_region_is_mapped_from_its_start_shared_and_no_larger_than_it_is(int flags, int protection, int length, long offset) =>
        Assert.Equal(-Errno.EINVAL, (int)_machine.Kernel.Mmap(0, (nuint)length, protection, flags, Region(records: 2), offset));

    [Fact]
    [Trait("rfc", "FAULT_COMPLETE")]
    public void Detach_answers_what_waits()
    {
        int region = Region();
        _channel.Start(PasidCommand.Read, Address, 42, RfcChannel.Pri);
        iommu_ioasid_fault fault = Read(region);
        Assert.Equal(0, _machine.Detach(_device, _iommu, _gva, vpasid: 42));
        Assert.Equal(PasidStatus.Refused, _channel.Wait());
        Assert.Equal(-Errno.EINVAL, Complete(fault));
    }

    [Fact]
    [Trait("rfc", "FAULT_REGION")]
    public void An_ioasid_that_takes_faults_is_refused_to_a_device_that_cannot_ask()
    {
        int edu = _machine.OpenBound(RfcMachine.Edu, _iommu, 2);
        Assert.Equal(-Errno.ENODEV, _machine.Attach(edu, _iommu, _machine.AllocUserTable(_iommu, _gpa, _table.Root, IOMMU_IOASID_FAULT)));
    }

    [Fact]
    [Trait("rfc", "FAULT_REGION")]
    [Trait("rfc", "4.6")]
    public void DMA_that_fails_for_good_is_reported_with_its_reason_and_not_completed()
    {
        int region = Region();
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, Address, 42));
        iommu_ioasid_fault fault = Read(region);
        Assert.Equal((_gva, 0xc0ffeeUL, Address, 42u), (fault.ioasid, fault.cookie, fault.addr, fault.vpasid));
        Assert.Equal(IOMMU_IOASID_FAULT_UNRECOVERABLE | IOMMU_IOASID_FAULT_PASID_VALID, fault.flags);
        Assert.Equal((IOMMU_FAULT_PERM_READ, (uint)iommu_fault_reason.IOMMU_FAULT_REASON_PTE_FETCH), (fault.perm, fault.reason));
        Assert.Equal(-Errno.EINVAL, Complete(fault));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, 0x9999_0000));
        Assert.False(_machine.IsReadable(region));
        Assert.False(_machine.DmaWrite(RfcMachine.Accelerator, Address, 1, 42));
        Assert.Equal(IOMMU_FAULT_PERM_WRITE, Read(region).perm);
    }

    [Fact]
    [Trait("rfc", "4.6")]
    public void A_root_that_takes_faults_is_mapped_page_by_page_as_devices_ask()
    {
        int device = _machine.OpenBound(RfcMachine.Enqcmd, _iommu, 3),
            root = _machine.Alloc(_iommu, flags: IOMMU_IOASID_SNOOP_AUTO | IOMMU_IOASID_FAULT);
        Assert.Equal(0, _machine.Attach(device, _iommu, root));
        Assert.Equal(0, TryRegion(root, 16, out int region));
        var channel = new RfcChannel(_machine, device);
        channel.Start(PasidCommand.Read, 0x9000, null, RfcChannel.Pri);
        iommu_ioasid_fault fault = Read(region);
        Assert.Equal((root, 3UL, 0x9000UL, IOMMU_IOASID_FAULT_LAST_PAGE), (fault.ioasid, fault.cookie, fault.addr, fault.flags));
        Assert.Equal(0, _machine.Map(_iommu, root, 0x9000, _machine.Memory(Page, 99), Page));
        Assert.Equal(0, Complete(fault));
        Assert.Equal((PasidStatus.Done, 99UL), (channel.Wait(), channel.Buffer));
    }

    [Fact]
    [Trait("rfc", "INVALIDATE")]
    [Trait("rfc", "1.2-cookie")]
    public void A_devices_own_cache_is_invalidated_by_type_and_cookie()
    {
        int second = _machine.OpenBound(RfcMachine.Enqcmd, _iommu, 0xbee);
        int gva = _machine.AllocUserTable(_iommu, _gpa, _table.Root);
        Assert.Equal(0, _machine.Attach(_device, _iommu, gva, vpasid: 5));
        Assert.Equal(0, _machine.Attach(second, _iommu, gva, vpasid: 5));
        RfcChannel[] channels = [_channel, new RfcChannel(_machine, second)];
        uint[] Counts() => [.. channels.Select(static c => c.Read(PasidRegister.Invalidations))];
        uint[] before = Counts();
        Assert.Equal(0, _machine.Invalidate(_iommu, gva, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, Address, 1));
        Assert.Equal(before, Counts());
        Assert.Equal(0, _machine.Invalidate(_iommu, gva, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_DEV_IOTLB, Address, 1,
            cookie: 0xbee));
        Assert.Equal([before[0], before[1] + 1], Counts());
        Assert.Equal(0, _machine.Invalidate(_iommu, gva, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_DEV_IOTLB, Address, 1));
        Assert.Equal([before[0] + 1, before[1] + 2], Counts());
    }

    private byte* Map(int region)
    {
        nint address = _machine.Kernel.Mmap(0, 8192, 3, Libc.MAP_SHARED, region, 0);
        Assert.True(address is > 0);
        return (byte*)address;
    }

    private int Region(uint records = 16)
    {
        Assert.Equal(0, TryRegion(_gva, records, out int descriptor));
        return descriptor;
    }

    private int TryRegion(int ioasid, uint records, out int descriptor)
    {
        iommu_ioasid_fault_region region =
            new() { argsz = (uint)sizeof(iommu_ioasid_fault_region), ioasid = ioasid, eventfd = _eventfd, nr_records = records };
        int error = _machine.Ioctl(_iommu, IOMMU_IOASID_FAULT_REGION, ref region);
        Assert.True(error < 0 || region.record_size == sizeof(iommu_ioasid_fault));
        descriptor = region.out_fd;
        return error;
    }

    private iommu_ioasid_fault Read(int region)
    {
        iommu_ioasid_fault fault;
        Assert.Equal(sizeof(iommu_ioasid_fault), _machine.Kernel.Read(region, (nint)(&fault), (nuint)sizeof(iommu_ioasid_fault)));
        return fault;
    }

    private int Complete(iommu_ioasid_fault fault, iommu_page_response_code code = iommu_page_response_code.IOMMU_PAGE_RESP_SUCCESS)
    {
        iommu_ioasid_fault_completion completion = new()
        {
            argsz = (uint)sizeof(iommu_ioasid_fault_completion),
            ioasid = fault.ioasid,
            fault_id = fault.fault_id,
            cookie = fault.cookie,
            code = (uint)code,
        };
        return _machine.Ioctl(_iommu, IOMMU_IOASID_FAULT_COMPLETE, ref completion);
    }
}
