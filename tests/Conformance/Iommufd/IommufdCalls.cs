using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.Native.Uapi.Iommufd;

namespace Conformance.Iommu;

/// <summary>A test's /dev/iommu with its commands, one method each. Results are the kernel's; methods that return an id require success.</summary>
internal sealed unsafe class IommufdCalls : IDisposable
{
    public const uint FIXED = 1, WRITE = 2, READ = 4, RW = WRITE | READ;
    public const ulong Page = 4096, MockBase = MOCK_APERTURE_START;

    private readonly bool _ownsHost;

    public IommufdCalls()
        : this(new TestHost()) => _ownsHost = true;

    public IommufdCalls(TestHost host)
    {
        Host = host;
        Fd = host.OpenIommu();
    }

    public TestHost Host { get; }

    public int Fd { get; }

    public void Dispose()
    {
        if (_ownsHost)
        {
            Host.Dispose();
        }
    }

    /// <summary>The command with its size filled in.</summary>
    public int Call<T>(uint request, ref T argument)
        where T : unmanaged
    {
        fixed (T* p = &argument)
        {
            *(uint*)p = (uint)sizeof(T);
        }

        return Host.Ioctl(Fd, request, ref argument);
    }

    /// <summary>Memory that nobody may touch; the address stays ours, so that nothing else comes there before the test ends.</summary>
    public void MakeHole(nint address, nuint length) => Assert.Equal(
        address, Host.Kernel.Mmap(address, length, Libc.PROT_NONE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_FIXED, -1, 0));

    public static void Ok(int result) => TestHost.Succeeds(result, "command");

    public static void Fails(int errno, int result) => TestHost.Fails(errno, result);

    public uint IoasAlloc()
    {
        var cmd = default(iommu_ioas_alloc);
        Ok(Call(IOMMU_IOAS_ALLOC, ref cmd));
        return cmd.out_ioas_id;
    }

    public int Destroy(uint id)
    {
        var cmd = new iommu_destroy { id = id };
        return Call(IOMMU_DESTROY, ref cmd);
    }

    public int Map(uint ioas, ulong va, ulong length, ulong iova, uint flags = FIXED | RW)
    {
        var cmd = new iommu_ioas_map { ioas_id = ioas, user_va = va, length = length, iova = iova, flags = flags };
        return Call(IOMMU_IOAS_MAP, ref cmd);
    }

    public int MapAuto(uint ioas, ulong va, ulong length, out ulong iova)
    {
        var cmd = new iommu_ioas_map { ioas_id = ioas, user_va = va, length = length, flags = RW };
        int result = Call(IOMMU_IOAS_MAP, ref cmd);
        iova = cmd.iova;
        return result;
    }

    public ulong MapAuto(uint ioas, ulong va, ulong length)
    {
        Ok(MapAuto(ioas, va, length, out ulong iova));
        return iova;
    }

    public int MapFile(uint ioas, int fd, ulong start, ulong length, ulong iova, uint flags = FIXED | RW)
    {
        var cmd = new iommu_ioas_map_file { ioas_id = ioas, fd = fd, start = start, length = length, iova = iova, flags = flags };
        return Call(IOMMU_IOAS_MAP_FILE, ref cmd);
    }

    public int Unmap(uint ioas, ulong iova, ulong length, out ulong unmapped)
    {
        var cmd = new iommu_ioas_unmap { ioas_id = ioas, iova = iova, length = length };
        int result = Call(IOMMU_IOAS_UNMAP, ref cmd);
        unmapped = cmd.length;
        return result;
    }

    public int Unmap(uint ioas, ulong iova, ulong length) => Unmap(ioas, iova, length, out _);

    public int Copy(uint destination, ulong dstIova, uint source, ulong srcIova, ulong length, uint flags = FIXED | RW)
    {
        var cmd = new iommu_ioas_copy { dst_ioas_id = destination, dst_iova = dstIova, src_ioas_id = source, src_iova = srcIova, length = length,
            flags = flags };
        return Call(IOMMU_IOAS_COPY, ref cmd);
    }

    public int Ranges(uint ioas, int room, out iommu_iova_range[] ranges, out uint count, out ulong alignment)
    {
        ranges = new iommu_iova_range[room];
        fixed (iommu_iova_range* p = ranges)
        {
            var cmd = new iommu_ioas_iova_ranges { ioas_id = ioas, num_iovas = (uint)room, allowed_iovas = (ulong)p };
            int result = Call(IOMMU_IOAS_IOVA_RANGES, ref cmd);
            count = cmd.num_iovas;
            alignment = cmd.out_iova_alignment;
            return result;
        }
    }

    public (ulong First, ulong Last)[] Ranges(uint ioas)
    {
        Ok(Ranges(ioas, 16, out iommu_iova_range[] ranges, out uint count, out _));
        return [.. ranges.Take((int)count).Select(static r => (r.start, r.last))];
    }

    public ulong Alignment(uint ioas)
    {
        Ok(Ranges(ioas, 16, out _, out _, out ulong alignment));
        return alignment;
    }

    public int Allow(uint ioas, params (ulong First, ulong Last)[] allowed)
    {
        iommu_iova_range[] ranges = [.. allowed.Select(static a => new iommu_iova_range { start = a.First, last = a.Last })];
        fixed (iommu_iova_range* p = ranges)
        {
            var cmd = new iommu_ioas_allow_iovas { ioas_id = ioas, num_iovas = (uint)ranges.Length, allowed_iovas = (ulong)p };
            return Call(IOMMU_IOAS_ALLOW_IOVAS, ref cmd);
        }
    }

    public int Option(uint option, ushort op, uint obj, ref ulong value)
    {
        var cmd = new iommu_option { option_id = option, op = op, object_id = obj, val64 = value };
        int result = Call(IOMMU_OPTION, ref cmd);
        value = cmd.val64;
        return result;
    }

    public int SetHugePages(uint ioas, ulong value) => Option((uint)iommufd_option.IOMMU_OPTION_HUGE_PAGES, 0, ioas, ref value);

    public int HwptAlloc(uint device, uint table, uint flags, out uint hwpt, uint type = 0, ulong data = 0, uint length = 0, uint fault = 0)
    {
        var cmd = new iommu_hwpt_alloc
        {
            dev_id = device, pt_id = table, flags = flags, data_type = type, data_uptr = data, data_len = length, fault_id = fault,
        };
        int result = Call(IOMMU_HWPT_ALLOC, ref cmd);
        hwpt = cmd.out_hwpt_id;
        return result;
    }

    public uint HwptAlloc(uint device, uint table, uint flags = 0)
    {
        Ok(HwptAlloc(device, table, flags, out uint hwpt));
        return hwpt;
    }

    /// <summary>A nested table of the mock driver.</summary>
    public int NestedAlloc(uint device, uint parent, uint flags, out uint hwpt, uint fault = 0)
    {
        var data = new iommu_hwpt_selftest { iotlb = IOMMU_TEST_IOTLB_DEFAULT };
        return HwptAlloc(device, parent, flags, out hwpt, IOMMU_HWPT_DATA_SELFTEST, (ulong)&data, (uint)sizeof(iommu_hwpt_selftest), fault);
    }

    public int FaultAlloc(out uint id, out int fd)
    {
        var cmd = default(iommu_fault_alloc);
        int result = Call(IOMMU_FAULT_QUEUE_ALLOC, ref cmd);
        id = cmd.out_fault_id;
        fd = (int)cmd.out_fault_fd;
        if (result == 0)
        {
            Host.Keep(fd);
        }

        return result;
    }

    public int ViommuAlloc(uint device, uint parent, uint type, out uint viommu, ulong data = 0, uint length = 0)
    {
        var cmd = new iommu_viommu_alloc { dev_id = device, hwpt_id = parent, type = type, data_uptr = data, data_len = length };
        int result = Call(IOMMU_VIOMMU_ALLOC, ref cmd);
        viommu = cmd.out_viommu_id;
        return result;
    }

    public uint ViommuAlloc(uint device, uint parent)
    {
        Ok(ViommuAlloc(device, parent, IOMMU_VIOMMU_TYPE_SELFTEST, out uint viommu));
        return viommu;
    }

    public int VdeviceAlloc(uint viommu, uint device, ulong id, out uint vdevice)
    {
        var cmd = new iommu_vdevice_alloc { viommu_id = viommu, dev_id = device, virt_id = id };
        int result = Call(IOMMU_VDEVICE_ALLOC, ref cmd);
        vdevice = cmd.out_vdevice_id;
        return result;
    }

    public int VeventqAlloc(uint viommu, uint type, uint depth, out uint id, out int fd)
    {
        var cmd = new iommu_veventq_alloc { viommu_id = viommu, type = type, veventq_depth = depth };
        int result = Call(IOMMU_VEVENTQ_ALLOC, ref cmd);
        id = cmd.out_veventq_id;
        fd = (int)cmd.out_veventq_fd;
        if (result == 0)
        {
            Host.Keep(fd);
        }

        return result;
    }

    public int HwQueueAlloc(uint viommu, uint type, uint index, ulong iova, ulong length, out uint id)
    {
        var cmd = new iommu_hw_queue_alloc { viommu_id = viommu, type = type, index = index, nesting_parent_iova = iova, length = length };
        int result = Call(IOMMU_HW_QUEUE_ALLOC, ref cmd);
        id = cmd.out_hw_queue_id;
        return result;
    }

    public int Test(iommu_test_op op, ref iommu_test_cmd cmd)
    {
        cmd.op = (uint)op;
        return Call(IOMMU_TEST_CMD, ref cmd);
    }

    /// <summary>Skips unless the kernel has its test front end.</summary>
    public void NeedMock()
    {
        var cmd = default(iommu_test_cmd);
        TestHost.Need(Test(0, ref cmd) == -Errno.EOPNOTSUPP, "the kernel was built without CONFIG_IOMMUFD_TEST");
    }

    /// <summary>A mock device that is attached to a table or an address space.</summary>
    public Mock MockDomain(uint table, uint flags = 0)
    {
        Ok(MockDomain(table, flags, out Mock mock));
        return mock;
    }

    public int MockDomain(uint table, uint flags, out Mock mock)
    {
        NeedMock();
        var cmd = new iommu_test_cmd { id = table, mock_domain_flags_dev_flags = flags };
        int result = Test(flags == 0 ? iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN : iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS, ref cmd);
        mock = new Mock(cmd.mock_domain_out_stdev_id, cmd.mock_domain_out_hwpt_id, cmd.mock_domain_out_idev_id);
        return result;
    }

    public int MockReplace(uint stdev, uint table, out uint hwpt)
    {
        var cmd = new iommu_test_cmd { id = stdev, mock_domain_replace_pt_id = table };
        int result = Test(iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, ref cmd);
        hwpt = cmd.mock_domain_replace_pt_id;
        return result;
    }

    public int CheckMap(uint hwpt, ulong iova, ulong va, ulong length)
    {
        var cmd = new iommu_test_cmd { id = hwpt, check_map_iova = iova, check_map_length = length, check_map_uptr = va };
        return Test(iommu_test_op.IOMMU_TEST_OP_MD_CHECK_MAP, ref cmd);
    }

    public int CheckRefs(ulong va, ulong length, uint pins)
    {
        var cmd = new iommu_test_cmd { check_refs_uptr = va, check_refs_length = length, check_refs_refs = pins };
        return Test(iommu_test_op.IOMMU_TEST_OP_MD_CHECK_REFS, ref cmd);
    }

    public int AddReserved(uint ioas, ulong start, ulong length)
    {
        var cmd = new iommu_test_cmd { id = ioas, add_reserved_start = start, add_reserved_length = length };
        return Test(iommu_test_op.IOMMU_TEST_OP_ADD_RESERVED, ref cmd);
    }

    public int CreateAccess(uint ioas, bool pins, out int fd)
    {
        var cmd = new iommu_test_cmd { id = ioas, create_access_flags = pins ? MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES : 0 };
        int result = Test(iommu_test_op.IOMMU_TEST_OP_CREATE_ACCESS, ref cmd);
        fd = (int)cmd.create_access_out_access_fd;
        if (result == 0)
        {
            Host.Keep(fd);
        }

        return result;
    }

    public int CreateAccess(uint ioas, bool pins)
    {
        NeedMock();
        Ok(CreateAccess(ioas, pins, out int fd));
        return fd;
    }

    public int AccessReplace(int access, uint ioas)
    {
        var cmd = new iommu_test_cmd { id = (uint)access, access_replace_ioas_ioas_id = ioas };
        return Test(iommu_test_op.IOMMU_TEST_OP_ACCESS_REPLACE_IOAS, ref cmd);
    }

    public int AccessPages(int access, ulong iova, ulong length, ulong va, out uint id, uint flags = 0)
    {
        var cmd = new iommu_test_cmd
        {
            id = (uint)access, access_pages_iova = iova, access_pages_length = length, access_pages_uptr = va, access_pages_flags = flags,
        };
        int result = Test(iommu_test_op.IOMMU_TEST_OP_ACCESS_PAGES, ref cmd);
        id = cmd.access_pages_out_access_pages_id;
        return result;
    }

    public int DestroyAccessPages(int access, uint id)
    {
        var cmd = new iommu_test_cmd { id = (uint)access, destroy_access_pages_access_pages_id = id };
        return Test(iommu_test_op.IOMMU_TEST_OP_DESTROY_ACCESS_PAGES, ref cmd);
    }

    public int AccessRw(int access, ulong iova, ulong va, ulong length, uint flags)
    {
        var cmd = new iommu_test_cmd { id = (uint)access, access_rw_iova = iova, access_rw_length = length, access_rw_uptr = va,
            access_rw_flags = flags };
        return Test(iommu_test_op.IOMMU_TEST_OP_ACCESS_RW, ref cmd);
    }

    public int CheckIotlb(uint hwpt, uint index, uint value)
    {
        var cmd = new iommu_test_cmd { id = hwpt, check_iotlb_id = index, check_iotlb_iotlb = value };
        return Test(iommu_test_op.IOMMU_TEST_OP_MD_CHECK_IOTLB, ref cmd);
    }

    public int CheckCache(uint device, uint index, uint value)
    {
        var cmd = new iommu_test_cmd { id = device, check_dev_cache_id = index, check_dev_cache_cache = value };
        return Test(iommu_test_op.IOMMU_TEST_OP_DEV_CHECK_CACHE, ref cmd);
    }

    public int TriggerFault(uint device, uint pasid, uint group, ulong address)
    {
        var cmd = new iommu_test_cmd
        {
            trigger_iopf_dev_id = device, trigger_iopf_pasid = pasid, trigger_iopf_grpid = group, trigger_iopf_perm = 3, trigger_iopf_addr = address,
        };
        return Test(iommu_test_op.IOMMU_TEST_OP_TRIGGER_IOPF, ref cmd);
    }

    public int TriggerEvent(uint device)
    {
        var cmd = new iommu_test_cmd { trigger_vevent_dev_id = device };
        return Test(iommu_test_op.IOMMU_TEST_OP_TRIGGER_VEVENT, ref cmd);
    }

    public int Pasid(iommu_test_op op, uint stdev, uint pasid, uint table)
    {
        var cmd = new iommu_test_cmd { id = stdev, pasid_attach_pasid = pasid, pasid_attach_pt_id = table };
        return Test(op, ref cmd);
    }

    public int SetDirtyTracking(uint hwpt, bool enable)
    {
        var cmd = new iommu_hwpt_set_dirty_tracking { hwpt_id = hwpt, flags = enable ? 1u : 0 };
        return Call(IOMMU_HWPT_SET_DIRTY_TRACKING, ref cmd);
    }

    public int MakeDirty(uint hwpt, ulong iova, ulong length, ulong pageSize, byte[] bits, out ulong count)
    {
        fixed (byte* p = bits)
        {
            var cmd = new iommu_test_cmd { id = hwpt, dirty_iova = iova, dirty_length = length, dirty_page_size = pageSize, dirty_uptr = (ulong)p };
            int result = Test(iommu_test_op.IOMMU_TEST_OP_DIRTY, ref cmd);
            count = cmd.dirty_out_nr_dirty;
            return result;
        }
    }

    public int GetDirty(uint hwpt, ulong iova, ulong length, ulong pageSize, byte[] bits, uint flags = 0)
    {
        fixed (byte* p = bits)
        {
            var cmd = new iommu_hwpt_get_dirty_bitmap { hwpt_id = hwpt, iova = iova, length = length, page_size = pageSize, data = (ulong)p,
                flags = flags };
            return Call(IOMMU_HWPT_GET_DIRTY_BITMAP, ref cmd);
        }
    }

    public int Invalidate<T>(uint table, uint type, T[] requests, out uint handled, uint? count = null, uint? length = null)
        where T : unmanaged
    {
        fixed (T* p = requests)
        {
            var cmd = new iommu_hwpt_invalidate
            {
                hwpt_id = table, data_type = type, data_uptr = (ulong)p, entry_len = length ?? (uint)sizeof(T),
                entry_num = count ?? (uint)requests.Length,
            };
            int result = Call(IOMMU_HWPT_INVALIDATE, ref cmd);
            handled = cmd.entry_num;
            return result;
        }
    }

    /// <summary>Ids of a mock device.</summary>
    /// <param name="Stdev">What destroying takes the device away.</param>
    /// <param name="Hwpt">The table that it is attached to.</param>
    /// <param name="Idev">The bound device.</param>
    public readonly record struct Mock(uint Stdev, uint Hwpt, uint Idev);
}
