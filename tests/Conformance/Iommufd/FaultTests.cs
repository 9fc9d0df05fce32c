using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>Page requests: queue, records, answers.</summary>
public sealed unsafe class FaultTests : IDisposable
{
    private const uint FaultValid = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_FAULT_ID_VALID;
    private const int Record = 40;

    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void A_queue_is_a_file_that_keeps_the_queue()
    {
        Ok(_c.FaultAlloc(out uint id, out int fd));
        Fails(EBUSY, _c.Destroy(id));
        _c.Host.Close(fd);
        Ok(_c.Destroy(id));
        var cmd = new iommu_fault_alloc { flags = 1 };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_FAULT_QUEUE_ALLOC, ref cmd));
    }

    [Fact]
    public void The_file_outlives_the_iommufd()
    {
        Ok(_c.FaultAlloc(out _, out int fd));
        _c.Host.Close(_c.Fd);
        Assert.Equal(0, Read(fd, Record, out _));
    }

    [Fact]
    public void An_empty_queue_reads_as_nothing_and_is_not_readable()
    {
        Ok(_c.FaultAlloc(out _, out int fd));
        Assert.Equal(0, Read(fd, Record, out _));
        Assert.Equal(0, Read(fd, 0, out _));
        Assert.Equal(-ESPIPE, Read(fd, Record - 1, out _));
        Assert.Equal(-ESPIPE, Read(fd, 1, out _));
        Assert.False(IsReadable(fd));
        byte* buffer = stackalloc byte[Record];
        Assert.Equal(-ESPIPE, _c.Host.Kernel.Pread(fd, (nint)buffer, Record, 0));
        Assert.Equal(-ESPIPE, _c.Host.Kernel.Pwrite(fd, (nint)buffer, 8, 0));
        Fails(ENOTTY, _c.Host.Kernel.Ioctl(fd, IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_ALLOC, (nint)buffer));
    }

    [Fact]
    public void A_request_is_read_and_answered()
    {
        Mock mock = Attach(out int fd);
        Ok(_c.TriggerFault(mock.Idev, 0, 7, 0x1234000));
        Assert.True(IsReadable(fd));
        Assert.Equal(Record, Read(fd, Record, out iommu_hwpt_pgfault[] faults));
        iommu_hwpt_pgfault fault = faults[0];
        Assert.Equal((2u, mock.Idev, 0u, 7u, 3u, 0x1234000ul, 0u, 1u), (fault.flags, fault.dev_id, fault.pasid, fault.grpid, fault.perm, fault.addr,
            fault.length, fault.cookie));
        Assert.False(IsReadable(fd));
        Assert.Equal(8, Respond(fd, (1, 0)));
        Assert.Equal(-EINVAL, Respond(fd, (1, 0)));
    }

    [Fact]
    public void Cookies_are_the_lowest_that_are_free()
    {
        Mock mock = Attach(out int fd);
        for (uint i = 0; i < 3; i++)
        {
            Ok(_c.TriggerFault(mock.Idev, 0, i, i * Page));
        }

        Assert.Equal(3 * Record, Read(fd, 4 * Record, out iommu_hwpt_pgfault[] faults));
        Assert.Equal([1u, 2u, 3u], faults[..3].Select(static f => f.cookie));
        Assert.Equal(8, Respond(fd, (2, 1)));
        Ok(_c.TriggerFault(mock.Idev, 0, 9, 0));
        Assert.Equal(Record, Read(fd, Record, out faults));
        Assert.Equal(2u, faults[0].cookie);
        Assert.Equal(24, Respond(fd, (3, 0), (1, 0), (2, 0)));
    }

    [Fact]
    public void Answers_stop_at_the_first_bad_one()
    {
        Mock mock = Attach(out int fd);
        Ok(_c.TriggerFault(mock.Idev, 0, 1, 0));
        Ok(_c.TriggerFault(mock.Idev, 0, 2, 0));
        Assert.Equal(2 * Record, Read(fd, 2 * Record, out _));
        Assert.Equal(-EINVAL, Respond(fd, (1, 2)));
        Assert.Equal(-EINVAL, Respond(fd, (3, 0)));
        Assert.Equal(8, Respond(fd, (1, 0), (5, 0)));
        Assert.Equal(8, Respond(fd, (2, 0), (2, 7)));
        byte* buffer = stackalloc byte[8];
        Assert.Equal(-ESPIPE, _c.Host.Kernel.Write(fd, (nint)buffer, 7));
        Assert.Equal(0, _c.Host.Kernel.Write(fd, (nint)buffer, 0));
        Assert.Equal(-EFAULT, _c.Host.Kernel.Write(fd, 0x1000, 8));
    }

    [Fact]
    public void A_read_into_nowhere_loses_nothing()
    {
        Mock mock = Attach(out int fd);
        Ok(_c.TriggerFault(mock.Idev, 0, 1, 0x5000));
        Assert.Equal(-EFAULT, _c.Host.Kernel.Read(fd, 0x1000, Record));
        Assert.Equal(-EINVAL, Read(fd, 0, out _));
        Assert.True(IsReadable(fd));
        Assert.Equal(Record, Read(fd, Record, out iommu_hwpt_pgfault[] faults));
        Assert.Equal((0x5000ul, 1u), (faults[0].addr, faults[0].cookie));
    }

    [Fact]
    public void Without_a_handler_the_request_is_refused_in_silence()
    {
        Mock mock = _c.MockDomain(_c.IoasAlloc());
        Ok(_c.TriggerFault(mock.Idev, 0, 1, 0));
        Ok(_c.TriggerFault(mock.Idev, 5, 1, 0));
        Fails(ENOENT, _c.TriggerFault(mock.Hwpt, 0, 1, 0));
    }

    [Fact]
    public void A_pasid_without_an_attachment_goes_through_the_nested_table()
    {
        Mock mock = Attach(out int fd);
        Ok(_c.TriggerFault(mock.Idev, 33, 1, 0x7000));
        Assert.Equal(Record, Read(fd, Record, out iommu_hwpt_pgfault[] faults));
        Assert.Equal((3u, 33u), (faults[0].flags, faults[0].pasid));
    }

    [Fact]
    public void Detaching_refuses_what_waits()
    {
        Mock mock = Attach(out int fd);
        Ok(_c.TriggerFault(mock.Idev, 0, 1, 0x1000));
        Assert.Equal(Record, Read(fd, Record, out _));
        Ok(_c.TriggerFault(mock.Idev, 0, 2, 0x2000));
        Ok(_c.Destroy(mock.Stdev));
        Assert.Equal(0, Read(fd, Record, out _));
        Assert.Equal(-EINVAL, Respond(fd, (1, 0)));
    }

    [Fact]
    public void A_paging_table_can_have_a_queue_too()
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        Ok(_c.FaultAlloc(out uint fault, out int fd));
        Ok(_c.HwptAlloc(mock.Idev, ioas, FaultValid, out uint hwpt, fault: fault));
        Ok(_c.MockReplace(mock.Stdev, hwpt, out _));
        Ok(_c.TriggerFault(mock.Idev, 0, 4, 0x9000));
        Assert.Equal(Record, Read(fd, Record, out _));

        // A PASID is nobody's here.
        Ok(_c.TriggerFault(mock.Idev, 3, 4, 0x9000));
        Assert.Equal(0, Read(fd, Record, out _));
    }

    // A mock device on a nested table with a fault queue.
    private Mock Attach(out int fd)
    {
        uint ioas = _c.IoasAlloc();
        Mock mock = _c.MockDomain(ioas);
        uint parent = _c.HwptAlloc(mock.Idev, ioas, (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT);
        Ok(_c.FaultAlloc(out uint fault, out fd));
        Ok(_c.NestedAlloc(mock.Idev, parent, FaultValid, out uint nested, fault));
        Ok(_c.MockReplace(mock.Stdev, nested, out _));
        return mock;
    }

    private int Read(int fd, int bytes, out iommu_hwpt_pgfault[] faults)
    {
        faults = new iommu_hwpt_pgfault[8];
        fixed (iommu_hwpt_pgfault* p = faults)
        {
            return (int)_c.Host.Kernel.Read(fd, (nint)p, (nuint)bytes);
        }
    }

    private int Respond(int fd, params (uint Cookie, uint Code)[] answers)
    {
        iommu_hwpt_page_response[] records = [.. answers.Select(static a => new iommu_hwpt_page_response { cookie = a.Cookie, code = a.Code })];
        fixed (iommu_hwpt_page_response* p = records)
        {
            return (int)_c.Host.Kernel.Write(fd, (nint)p, (nuint)(records.Length * 8));
        }
    }

    private bool IsReadable(int fd)
    {
        var poll = new PollDescriptor { Descriptor = fd, Events = Libc.POLLIN };
        Ok(_c.Host.Kernel.Poll((nint)(&poll), 1, 0));
        return (poll.Returned & Libc.POLLIN) != 0;
    }
}
