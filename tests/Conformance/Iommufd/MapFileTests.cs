using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static Conformance.Iommu.IommufdCalls;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Errno;

namespace Conformance.Iommu;

/// <summary>IOMMU_IOAS_MAP_FILE and IOMMU_IOAS_CHANGE_PROCESS.</summary>
public sealed unsafe class MapFileTests : IDisposable
{
    private readonly IommufdCalls _c = new();

    public void Dispose() => _c.Dispose();

    [Fact]
    public void A_memfd_is_mapped_and_outlives_its_descriptor()
    {
        uint ioas = _c.IoasAlloc();
        int fd = MemFd(4);
        Ok(_c.MapFile(ioas, fd, Page, 2 * Page, 0x10000));
        byte* file = Shared(fd, 4);
        file[4096 + 5] = 77;
        _c.Host.Close(fd);
        int access = _c.CreateAccess(ioas, pins: false);
        byte value = 0;
        Ok(_c.AccessRw(access, 0x10005, (ulong)&value, 1, 0));
        Assert.Equal(77, value);
        value = 99;
        Ok(_c.AccessRw(access, 0x11006, (ulong)&value, 1, MOCK_ACCESS_RW_WRITE));
        Assert.Equal(99, file[(2 * 4096) + 6]);
        Ok(_c.Unmap(ioas, 0x10000, 2 * Page));
    }

    [Fact]
    public void The_part_of_the_file_can_begin_anywhere()
    {
        uint ioas = _c.IoasAlloc();
        int fd = MemFd(2);
        Ok(_c.MapFile(ioas, fd, 100, 5000, 0x10000));
        byte* file = Shared(fd, 2);
        file[5099] = 5;
        byte value = 0;
        Ok(_c.AccessRw(_c.CreateAccess(ioas, pins: false), 0x10000 + 4999, (ulong)&value, 1, 0));
        Assert.Equal(5, value);
    }

    [Fact]
    public void The_checks_of_map_file_have_an_order()
    {
        uint ioas = _c.IoasAlloc();
        Fails(EOPNOTSUPP, _c.MapFile(99, -1, 0, ulong.MaxValue, 0, 8));
        Fails(EOVERFLOW, _c.MapFile(99, -1, 0, ulong.MaxValue, 0, FIXED));
        Fails(EOVERFLOW, _c.MapFile(99, -1, 0, Page, ulong.MaxValue, FIXED));
        Fails(EINVAL, _c.MapFile(99, -1, 0, Page, 0, FIXED));
        Fails(ENOENT, _c.MapFile(99, -1, 0, Page, 0));
        Fails(EINVAL, _c.MapFile(ioas, -1, 0, 0, 0));
        Fails(EOVERFLOW, _c.MapFile(ioas, -1, ulong.MaxValue, 2, 0));
        Fails(EBADF, _c.MapFile(ioas, -1, 0, Page, 0));
        Fails(EBADF, _c.MapFile(ioas, 999, 0, Page, 0));
    }

    [Fact]
    public void Without_a_domain_nobody_looks_at_the_file()
    {
        uint ioas = _c.IoasAlloc();
        Ok(_c.MapFile(ioas, MemFd(1), 0x100000, Page, 0x10000));
        Ok(_c.MapFile(ioas, _c.Fd, 0, Page, 0x20000));
        Ok(_c.MapFile(ioas, _c.Host.EventFd(), 0, Page, 0x30000));
        Fails(EEXIST, _c.MapFile(ioas, MemFd(1), 0, Page, 0x30000));
    }

    [Fact]
    public void With_a_domain_it_must_be_a_memory_file_that_is_long_enough()
    {
        uint ioas = _c.IoasAlloc();
        _c.MockDomain(ioas);
        int fd = MemFd(2);
        Fails(EINVAL, _c.MapFile(ioas, _c.Fd, 0, Page, MockBase));
        Fails(EINVAL, _c.MapFile(ioas, _c.Host.EventFd(), 0, Page, MockBase));
        Fails(EINVAL, _c.MapFile(ioas, fd, Page, 2 * Page, MockBase));
        Fails(EINVAL, _c.MapFile(ioas, fd, 2 * Page, Page, MockBase));
        Fails(EINVAL, _c.MapFile(ioas, fd, 1, Page, MockBase));
        Ok(_c.MapFile(ioas, fd, 0, 2 * Page, MockBase));
        Ok(_c.MapFile(ioas, fd, MOCK_PAGE_SIZE, Page, MockBase + (2 * Page)));
        Ok(_c.Unmap(ioas, MockBase, 4 * Page, out ulong unmapped));
        Assert.Equal(3 * Page, unmapped);
    }

    [Fact]
    public void Automatic_iovas_follow_the_offset_in_the_file()
    {
        uint ioas = _c.IoasAlloc();
        var cmd = new iommu_ioas_map_file { ioas_id = ioas, fd = MemFd(1), start = 0x3000, length = 2 * Page, flags = RW };
        Ok(_c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_MAP_FILE, ref cmd));
        Assert.Equal(0x1000ul, cmd.iova);
        cmd = cmd with { start = 0x4000, iova = 0 };
        Ok(_c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_MAP_FILE, ref cmd));
        Assert.Equal(0x4000ul, cmd.iova);
        cmd = cmd with { start = 0, iova = 0 };
        Ok(_c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_MAP_FILE, ref cmd));
        Assert.Equal(0x6000ul, cmd.iova);
    }

    [Fact]
    public void A_file_can_be_copied_and_pinned()
    {
        uint ioas = _c.IoasAlloc();
        int fd = MemFd(2);
        Ok(_c.MapFile(ioas, fd, 0, 2 * Page, 0x10000));
        Ok(_c.Copy(ioas, 0x20000, ioas, 0x11000, Page));
        int access = _c.CreateAccess(ioas, pins: true);
        Ok(_c.AccessPages(access, 0x20000, Page, 0, out uint id));
        Ok(_c.DestroyAccessPages(access, id));
    }

    [Fact]
    public void Only_files_can_change_their_process()
    {
        Ok(ChangeProcess());
        uint ioas = _c.IoasAlloc();
        Ok(_c.MapFile(ioas, MemFd(1), 0, Page, 0x10000));
        Ok(ChangeProcess());
        Ok(_c.Map(ioas, 0x10000, Page, 0x20000));
        Fails(EINVAL, ChangeProcess());
        var cmd = new iommu_ioas_change_process { __reserved = 1 };
        Fails(EOPNOTSUPP, _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_CHANGE_PROCESS, ref cmd));
    }

    [Fact]
    public void Physical_addresses_are_for_devices_without_an_iommu()
    {
        uint ioas = _c.IoasAlloc();
        Fails(EOPNOTSUPP, GetPa(99, 0, 0, flags: 1));
        Fails(EINVAL, GetPa(99, 0, 0));
        Fails(EOVERFLOW, GetPa(99, ulong.MaxValue, 1));
        Fails(ENOENT, GetPa(99, 0, 1));
        Fails(ENOENT, GetPa(ioas, MockBase, 1));
        Ok(_c.Map(ioas, (ulong)_c.Host.Pages(1), Page, MockBase));
        Fails(EOPNOTSUPP, GetPa(ioas, MockBase, 1));
        _c.MockDomain(ioas);
        Fails(EOPNOTSUPP, GetPa(ioas, MockBase, 1));
    }

    private int GetPa(uint ioas, ulong iova, ulong length, uint flags = 0)
    {
        var cmd = new iommu_ioas_noiommu_get_pa { ioas_id = ioas, iova = iova, length = length, flags = flags };
        return _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_NOIOMMU_GET_PA, ref cmd);
    }

    private int ChangeProcess()
    {
        var cmd = default(iommu_ioas_change_process);
        return _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_CHANGE_PROCESS, ref cmd);
    }

    private int MemFd(int pages)
    {
        int fd = _c.Host.Keep(TestHost.Succeeds(_c.Host.Kernel.MemFdCreate("conformance", Libc.MFD_CLOEXEC), "memfd"));
        Ok(_c.Host.Kernel.Ftruncate(fd, pages * 4096));
        return fd;
    }

    private byte* Shared(int fd, int pages)
    {
        nint address = _c.Host.Kernel.Mmap(0, (nuint)pages * 4096, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, fd, 0);
        Assert.False(address is < 0 and > -4096);
        return (byte*)address;
    }
}
