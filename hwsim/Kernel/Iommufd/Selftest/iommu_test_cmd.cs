using System.Runtime.InteropServices;

namespace IommuFd.HwSim.Kernel;

/// <summary>Operations of IOMMU_TEST_CMD (drivers/iommu/iommufd/iommufd_test.h).</summary>
public enum iommu_test_op : uint
{
#pragma warning disable CS1591 // the kernel's names; each is explained where it is carried out
    IOMMU_TEST_OP_ADD_RESERVED = 1,
    IOMMU_TEST_OP_MOCK_DOMAIN,
    IOMMU_TEST_OP_MD_CHECK_MAP,
    IOMMU_TEST_OP_MD_CHECK_REFS,
    IOMMU_TEST_OP_CREATE_ACCESS,
    IOMMU_TEST_OP_DESTROY_ACCESS_PAGES,
    IOMMU_TEST_OP_ACCESS_PAGES,
    IOMMU_TEST_OP_ACCESS_RW,
    IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT,
    IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
    IOMMU_TEST_OP_ACCESS_REPLACE_IOAS,
    IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS,
    IOMMU_TEST_OP_DIRTY,
    IOMMU_TEST_OP_MD_CHECK_IOTLB,
    IOMMU_TEST_OP_TRIGGER_IOPF,
    IOMMU_TEST_OP_DEV_CHECK_CACHE,
    IOMMU_TEST_OP_TRIGGER_VEVENT,
    IOMMU_TEST_OP_PASID_ATTACH,
    IOMMU_TEST_OP_PASID_REPLACE,
    IOMMU_TEST_OP_PASID_DETACH,
    IOMMU_TEST_OP_PASID_CHECK_HWPT,
    IOMMU_TEST_OP_DMABUF_GET,
    IOMMU_TEST_OP_DMABUF_REVOKE,
#pragma warning restore CS1591
}

/// <summary>Argument of IOMMU_TEST_CMD, request 0x3ba0. What the fields of the union are called depends on the operation.</summary>
[StructLayout(LayoutKind.Explicit, Size = 72)]
public struct iommu_test_cmd
{
#pragma warning disable CS1591 // the kernel's names
    public const uint IOMMU_TEST_CMD = 0x3ba0;

    public const ulong MOCK_APERTURE_START = 1 << 24, MOCK_APERTURE_LAST = (1UL << 31) - 1, MOCK_PAGE_SIZE = 2048, MOCK_HUGE_PAGE_SIZE = 512 * 2048;
    public const uint MOCK_FLAGS_ACCESS_WRITE = 1, MOCK_FLAGS_ACCESS_SYZ = 1 << 16, MOCK_ACCESS_RW_WRITE = 1, MOCK_ACCESS_RW_SLOW_PATH = 4;
    public const uint MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES = 1, MOCK_FLAGS_DEVICE_NO_DIRTY = 1, MOCK_FLAGS_DEVICE_PASID = 4;
    public const uint MOCK_IOMMUPT_DEFAULT = 0, MOCK_IOMMUPT_HUGE = 1, IOMMU_TEST_PASID_RESERVED = 1024;
    public const uint IOMMU_HW_INFO_TYPE_SELFTEST = 0xfeedbeef, IOMMU_HW_INFO_SELFTEST_REGVAL = 0xdeadbeef, IOMMU_HWPT_DATA_SELFTEST = 0xdead;
    public const uint IOMMU_TEST_IOTLB_DEFAULT = 0xbadbeef, IOMMU_TEST_DEV_CACHE_DEFAULT = 0xbaddad, IOMMU_TEST_INVALIDATE_FLAG_ALL = 1;
    public const uint IOMMU_HWPT_INVALIDATE_DATA_SELFTEST = 0xdeadbeef, IOMMU_VIOMMU_TYPE_SELFTEST = 0xdeadbeef;
    public const uint IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST = 0xdeadbeef, IOMMU_VEVENTQ_TYPE_SELFTEST = 0xbeefbeef,
        IOMMU_HW_QUEUE_TYPE_SELFTEST = 0xdeadbeef;

    [FieldOffset(0)] public uint size;
    [FieldOffset(4)] public uint op;
    [FieldOffset(8)] public uint id;
    [FieldOffset(12)] public uint __reserved;

    [FieldOffset(16)] public ulong add_reserved_start;
    [FieldOffset(24)] public ulong add_reserved_length;

    [FieldOffset(16)] public uint mock_domain_out_stdev_id;
    [FieldOffset(20)] public uint mock_domain_out_hwpt_id;
    [FieldOffset(24)] public uint mock_domain_out_idev_id;
    [FieldOffset(28)] public uint mock_domain_flags_dev_flags;

    [FieldOffset(16)] public uint mock_domain_replace_pt_id;

    [FieldOffset(16)] public ulong check_map_iova;
    [FieldOffset(24)] public ulong check_map_length;
    [FieldOffset(32)] public ulong check_map_uptr;

    [FieldOffset(16)] public ulong check_refs_length;
    [FieldOffset(24)] public ulong check_refs_uptr;
    [FieldOffset(32)] public uint check_refs_refs;

    [FieldOffset(16)] public uint create_access_out_access_fd;
    [FieldOffset(20)] public uint create_access_flags;

    [FieldOffset(16)] public uint destroy_access_pages_access_pages_id;

    [FieldOffset(16)] public uint access_pages_flags;
    [FieldOffset(20)] public uint access_pages_out_access_pages_id;
    [FieldOffset(24)] public ulong access_pages_iova;
    [FieldOffset(32)] public ulong access_pages_length;
    [FieldOffset(40)] public ulong access_pages_uptr;

    [FieldOffset(16)] public ulong access_rw_iova;
    [FieldOffset(24)] public ulong access_rw_length;
    [FieldOffset(32)] public ulong access_rw_uptr;
    [FieldOffset(40)] public uint access_rw_flags;

    [FieldOffset(16)] public uint memory_limit_limit;

    [FieldOffset(16)] public uint access_replace_ioas_ioas_id;

    [FieldOffset(16)] public uint dirty_flags;
    [FieldOffset(24)] public ulong dirty_iova;
    [FieldOffset(32)] public ulong dirty_length;
    [FieldOffset(40)] public ulong dirty_page_size;
    [FieldOffset(48)] public ulong dirty_uptr;
    [FieldOffset(56)] public ulong dirty_out_nr_dirty;

    [FieldOffset(16)] public uint check_iotlb_id;
    [FieldOffset(20)] public uint check_iotlb_iotlb;

    [FieldOffset(16)] public uint trigger_iopf_dev_id;
    [FieldOffset(20)] public uint trigger_iopf_pasid;
    [FieldOffset(24)] public uint trigger_iopf_grpid;
    [FieldOffset(28)] public uint trigger_iopf_perm;
    [FieldOffset(32)] public ulong trigger_iopf_addr;

    [FieldOffset(16)] public uint check_dev_cache_id;
    [FieldOffset(20)] public uint check_dev_cache_cache;

    [FieldOffset(16)] public uint trigger_vevent_dev_id;

    [FieldOffset(16)] public uint pasid_attach_pasid;
    [FieldOffset(20)] public uint pasid_attach_pt_id;
    [FieldOffset(16)] public uint pasid_check_pasid;
    [FieldOffset(20)] public uint pasid_check_hwpt_id;

    [FieldOffset(16)] public uint dmabuf_get_length;
    [FieldOffset(20)] public uint dmabuf_get_open_flags;

    [FieldOffset(16)] public int dmabuf_revoke_dmabuf_fd;
    [FieldOffset(20)] public uint dmabuf_revoke_revoked;

    [FieldOffset(64)] public uint last;
#pragma warning restore CS1591
}

/// <summary>Driver data of a table of the mock driver (iommu_hwpt_selftest).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_selftest
{
#pragma warning disable CS1591 // the kernel's names
    public uint iotlb;
    public uint pagetable_type;
#pragma warning restore CS1591
}

/// <summary>Driver data of a virtual IOMMU of the mock driver (iommu_viommu_selftest).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_viommu_selftest
{
#pragma warning disable CS1591 // the kernel's names
    public uint in_data;
    public uint out_data;
    public ulong out_mmap_offset;
    public ulong out_mmap_length;
#pragma warning restore CS1591
}

/// <summary>An invalidation request of the mock driver (iommu_hwpt_invalidate_selftest).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_invalidate_selftest
{
#pragma warning disable CS1591 // the kernel's names
    public uint flags;
    public uint iotlb_id;
#pragma warning restore CS1591
}

/// <summary>An invalidation request of a virtual IOMMU of the mock driver (iommu_viommu_invalidate_selftest).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_viommu_invalidate_selftest
{
#pragma warning disable CS1591 // the kernel's names
    public uint flags;
    public uint vdev_id;
    public uint cache_id;
#pragma warning restore CS1591
}
