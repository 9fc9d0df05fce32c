using IommuFd.HwSim.Kernel;
using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;

namespace HwSim.Tests.Kernel.Iommufd;

/// <summary>VT-d in scalable mode: what the driver writes is what the unit obeys.</summary>
public sealed unsafe class VtdScalableTests : IDisposable
{
    private const ulong Page = 4096;
    private const uint NestParent = 1, Dirty = 2, Pasid = 8;
    private const ushort Bdf = 0x20;

    private readonly TestMachine _machine = new();
    private readonly VtdUnit _unit;
    private readonly IommufdDevice _device;

    public VtdScalableTests()
    {
        _unit = new VtdUnit(_machine.Memory, new VtdOptions());
        var ops = new VtdOps();
        ops.Probe(_unit);
        var device = new IommuDevice("0000:00:04.0", ops, _unit) { RequesterId = Bdf, MaxPasids = 1 << 20, ReservedRegions = [VtdOps.MsiRegion] };
        Assert.Equal(0, new IommuGroup(1).AddDevice(device));
        Assert.Equal(0, _machine.Context.Bind(device, out var bound));
        _device = bound!;
    }

    public void Dispose()
    {
        _device.Detach(0);
        _device.Unbind();
        _machine.Dispose();
    }

    [Fact]
    public void An_address_space_becomes_a_first_stage_table()
    {
        var ioas = _machine.IoasAlloc();
        var pt = ioas;
        Assert.Equal(0, _device.Attach(0, ref pt));
        var va = Memory(2 << 20);
        Assert.Equal(0, _machine.Map(ioas, va, 2 << 20, 0x200000));
        Assert.Equal(DmaStatus.Success, Read(DmaRequest.NoPasid, 0x200008));
        Assert.Equal(-Errno.EINVAL, _machine.Map(ioas, va, Page, 1UL << 47));
        Assert.Equal(0, _machine.Unmap(ioas, 0x200000, 2 << 20, out _));
        Assert.Equal(DmaStatus.Fault, Read(DmaRequest.NoPasid, 0x200008));
    }

    [Fact]
    public void Pasids_have_tables_of_their_own()
    {
        var (first, second) = (_machine.IoasAlloc(), _machine.IoasAlloc());
        Assert.Equal(0, _machine.Map(first, Memory(4096), Page, 0x1000));
        Assert.Equal(0, _machine.Map(second, Memory(4096), Page, 0x5000));
        uint a = Hwpt(first, Pasid), b = Hwpt(second, Pasid);
        Assert.Equal(0, _device.Attach(0, ref a));
        Assert.Equal(0, _device.Attach(77, ref b));
        Assert.Equal(DmaStatus.Success, Read(DmaRequest.NoPasid, 0x1000));
        Assert.Equal(DmaStatus.Fault, Read(DmaRequest.NoPasid, 0x5000));
        Assert.Equal(DmaStatus.Success, Read(77, 0x5000));
        Assert.Equal(DmaStatus.Fault, Read(77, 0x1000));
        Assert.Equal(DmaStatus.Fault, Read(78, 0x5000));
        _device.Detach(77);
        Assert.Equal(DmaStatus.Fault, Read(77, 0x5000));
        Assert.Equal(DmaStatus.Success, Read(DmaRequest.NoPasid, 0x1000));
    }

    [Fact]
    public void A_nested_table_goes_through_its_parent()
    {
        var ioas = _machine.IoasAlloc();
        var guest = (ulong*)Memory(64 * 4096);
        Assert.Equal(0, _machine.Map(ioas, (ulong)guest, 64 * Page, 0));
        var parent = Hwpt(ioas, NestParent);

        // Guest tables in guest pages 1 to 4; guest address 0x7000 is guest page 9.
        for (var level = 1; level <= 3; level++)
        {
            guest[level * 512] = ((ulong)(level + 1) * Page) | 7;
        }

        guest[(4 * 512) + 7] = (9 * Page) | 0x67;
        guest[9 * 512] = 0xfeed;
        var config = new iommu_hwpt_vtd_s1 { pgtbl_addr = Page, addr_width = 48 };
        var cmd = new iommu_hwpt_alloc { dev_id = _device.Id, pt_id = parent, data_type = 1, data_len = 24, data_uptr = (ulong)&config };
        Assert.Equal(0, _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_ALLOC, ref cmd));
        var nested = cmd.out_hwpt_id;
        Assert.Equal(0, _device.Attach(0, ref nested));
        ulong word;
        Assert.Equal(DmaStatus.Success, _unit.Read(Bdf, DmaRequest.NoPasid, 0x7000, &word, 8));
        Assert.Equal(0xfeedUL, word);

        // The guest changes its table: the old translation stays until it says so.
        guest[(4 * 512) + 7] = (10 * Page) | 0x67;
        guest[10 * 512] = 0xbeef;
        Assert.Equal(DmaStatus.Success, _unit.Read(Bdf, DmaRequest.NoPasid, 0x7000, &word, 8));
        Assert.Equal(0xfeedUL, word);
        var request = new iommu_hwpt_vtd_s1_invalidate { addr = 0x7000, npages = 1 };
        var invalidate = new iommu_hwpt_invalidate { hwpt_id = nested, data_type = 0, entry_len = 24, entry_num = 1, data_uptr = (ulong)&request };
        Assert.Equal(0, _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_INVALIDATE, ref invalidate));
        Assert.Equal(1u, invalidate.entry_num);
        Assert.Equal(DmaStatus.Success, _unit.Read(Bdf, DmaRequest.NoPasid, 0x7000, &word, 8));
        Assert.Equal(0xbeefUL, word);
        Assert.Equal(0, _machine.Unmap(ioas, 0, ulong.MaxValue, out _));
        Assert.Equal(DmaStatus.Fault, Read(DmaRequest.NoPasid, 0x7000));
    }

    [Fact]
    public void Written_pages_are_found_by_dirty_tracking()
    {
        var ioas = _machine.IoasAlloc();
        Assert.Equal(0, _machine.Map(ioas, Memory(16 * 4096), 16 * Page, 0x10000));
        var hwpt = Hwpt(ioas, Dirty);
        Assert.Equal(0, _device.Attach(0, ref hwpt));
        var track = new iommu_hwpt_set_dirty_tracking { hwpt_id = hwpt, flags = 1 };
        Assert.Equal(0, _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_SET_DIRTY_TRACKING, ref track));
        ulong word = 5;
        Assert.Equal(DmaStatus.Success, Read(DmaRequest.NoPasid, 0x12000));
        Assert.Equal(DmaStatus.Success, _unit.Write(Bdf, DmaRequest.NoPasid, 0x13000, &word, 8));
        Assert.Equal(8ul, Dirtied(hwpt));
        Assert.Equal(0ul, Dirtied(hwpt));
        Assert.Equal(DmaStatus.Success, _unit.Write(Bdf, DmaRequest.NoPasid, 0x13000, &word, 8));
        Assert.Equal(8ul, Dirtied(hwpt));
    }

    private ulong Dirtied(uint hwpt)
    {
        ulong bits = 0;
        var get = new iommu_hwpt_get_dirty_bitmap { hwpt_id = hwpt, iova = 0x10000, length = 16 * Page, page_size = Page, data = (ulong)&bits };
        Assert.Equal(0, _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_GET_DIRTY_BITMAP, ref get));
        return bits;
    }

    private uint Hwpt(uint ioas, uint flags)
    {
        var cmd = new iommu_hwpt_alloc { dev_id = _device.Id, pt_id = ioas, flags = flags };
        Assert.Equal(0, _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_ALLOC, ref cmd));
        return cmd.out_hwpt_id;
    }

    private ulong Memory(nuint length) => (ulong)_machine.Mmap(length);

    private DmaStatus Read(uint pasid, ulong iova)
    {
        ulong word;
        return _unit.Read(Bdf, pasid, iova, &word, 8);
    }
}
