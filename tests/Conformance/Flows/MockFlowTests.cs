using System.Runtime.InteropServices;
using IommuFd;
using IommuFd.HwSim.Kernel;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;

namespace Conformance.Flows;

/// <summary>
/// Flows 4.4 to 4.6 of the proposal through the library, on the kernel's mock IOMMU: no device at hand nests, has PASIDs or asks for pages. The mock
/// driver shows which table a device or PASID is on, what a kernel-managed table leads to, and what was invalidated; it walks no table of the
/// program.
/// </summary>
public sealed unsafe class MockFlowTests : IDisposable
{
    private const ulong Base = MOCK_APERTURE_START;
    private const ulong Cookie = 0xc00c1e;

    private readonly TestHost _t = new();
    private readonly MockDeviceHost _mock;
    private readonly IommuHost _host;
    private readonly IommuContext _iommu;
    private readonly BoundDevice _device;
    private readonly IoAddressSpace _gpa;
    private readonly Attachment _boot;
    private readonly DmaBuffer _ram;
    private readonly Mapping _mapping;

    public MockFlowTests()
    {
        _mock = new MockDeviceHost(_t.Host);
        _host = IommuHost.Over(_mock);
        _iommu = _host.OpenContext(ContextKind.Iommufd);
        NeedMock();
        using VfioDeviceFile file = _host.OpenDevice(MockDeviceHost.Node);
        _device = file.Bind(_iommu, Cookie);
        _gpa = _iommu.CreateAddressSpace();
        _boot = _device.Attach(_gpa);
        _ram = _host.AllocateBuffer(0x10000);
        _mapping = _gpa.MapFixed(_ram, DmaAccess.ReadWrite, Base);
    }

    public void Dispose()
    {
        foreach (IDisposable? one in (IDisposable?[])[_mapping, _ram, _boot, _gpa, _device, _iommu, _host, _t])
        {
            one?.Dispose();
        }
    }

    [Fact]
    [Trait("rfc", "4.4 mainline")]
    public void Hardware_nesting()
    {
        Assert.Equal(0, LeadsTo(_boot.TableId, Base + 0x3000, 0x3000));
        using UserTableSpace giova = _gpa.CreateUserTable(Table());
        Attachment nested = _device.Attach(giova); // stays on gpa too
        Assert.Equal((SpaceKind.UserPageTable, 1), (giova.Kind, giova.Depth));
        Assert.NotEqual(_boot.TableId, nested.TableId);
        Assert.Equal(0, Cached(nested.TableId, 0, IOMMU_TEST_IOTLB_DEFAULT));

        // The guest's invalidation reaches the table.
        giova.InvalidateRaw((iommu_hwpt_invalidate_data_type)IOMMU_HWPT_INVALIDATE_DATA_SELFTEST,
            new iommu_hwpt_invalidate_selftest { flags = IOMMU_TEST_INVALIDATE_FLAG_ALL });
        Assert.Equal(0, Cached(nested.TableId, 0, 0));

        // Detached from the child, the device is on the parent again.
        nested.Dispose();
        Assert.Equal(0, LeadsTo(_boot.TableId, Base + 0x3000, 0x3000));
        Assert.NotEqual(0, LeadsTo(_boot.TableId, Base + 0x3000, 0x4000));
    }

    [Fact]
    [Trait("rfc", "4.5 mainline")]
    public void VSVA()
    {
        using UserTableSpace gva1 = _gpa.CreateUserTable(Table()), gva2 = _gpa.CreateUserTable(Table());
        Attachment first = _device.Attach(gva1, pasid: 5), second = _device.Attach(gva2, pasid: 6);
        Assert.Equal((0, 0, 0), (OnPasid(5, first.TableId), OnPasid(6, second.TableId), OnPasid(7, 0)));
        Assert.NotEqual(first.TableId, second.TableId);
        IommuFdException taken = Assert.Throws<IommuFdException>(() => _device.Attach(gva1, pasid: 5));
        Assert.Equal(IommuFd.Native.Errno.EINVAL, taken.Errno);
        first.Dispose();
        Assert.Equal((0, 0), (OnPasid(5, 0), OnPasid(6, second.TableId)));
        second.Dispose();
    }

    [Fact]
    [Trait("rfc", "4.5 mainline")]
    public void A_pasid_may_also_have_a_space_of_the_kernel()
    {
        using ChildAddressSpace giova = _gpa.CreateChild();
        using Attachment attachment = _device.Attach(giova, pasid: 9);
        using NestedMapping mapping = giova.Map(Base + 0x2000, Base + 0x5000, 0x1000, DmaAccess.ReadWrite);
        Assert.Equal(0, OnPasid(9, attachment.TableId));
        Assert.Equal(0, LeadsTo(attachment.TableId, Base + 0x2000, 0x5000));
    }

    [Fact]
    [Trait("rfc", "4.6 mainline")]
    public void Page_faults()
    {
        using UserTableSpace gva = _gpa.CreateUserTable(Table(), faults: true);
        using Attachment attachment = _device.Attach(gva);
        Assert.False(gva.Faults!.TryReadRequest(out _));
        Assert.Equal(0, Ask(pasid: 0, group: 7, 0x1234000));
        using PageRequest request = Assert.IsType<PageRequest>(gva.Faults.ReadRequest(TimeSpan.FromSeconds(10)));
        Assert.Equal((Cookie, null, 7u, 0x1234000ul), (request.Cookie, request.Pasid, request.Group, Assert.Single(request.Pages).Address));
        request.Complete();

        // What nobody answers is refused, and an answer is given once.
        Assert.Equal(0, Ask(pasid: 33, group: 8, 0x5000));
        using (PageRequest second = Assert.IsType<PageRequest>(gva.Faults.ReadRequest(TimeSpan.FromSeconds(10))))
        {
            Assert.Equal((Cookie, 33u), (second.Cookie, second.Pasid)); // no space of its own: the nested table's
        }
    }

    private static UserTable Table()
    {
        iommu_hwpt_selftest data = new() { iotlb = IOMMU_TEST_IOTLB_DEFAULT };
        return UserTable.FromData(IOMMU_HWPT_DATA_SELFTEST, MemoryMarshal.AsBytes(new ReadOnlySpan<iommu_hwpt_selftest>(ref data)));
    }

    private int LeadsTo(uint table, ulong iova, ulong offset)
    {
        var command =
            new iommu_test_cmd { id = table, check_map_iova = iova, check_map_length = 0x1000, check_map_uptr = (ulong)_ram.Address + offset };
        return _mock.Kernel.Test(iommu_test_op.IOMMU_TEST_OP_MD_CHECK_MAP, ref command);
    }

    private int Cached(uint table, uint index, uint value)
    {
        var command = new iommu_test_cmd { id = table, check_iotlb_id = index, check_iotlb_iotlb = value };
        return _mock.Kernel.Test(iommu_test_op.IOMMU_TEST_OP_MD_CHECK_IOTLB, ref command);
    }

    private int OnPasid(uint pasid, uint table)
    {
        var command = new iommu_test_cmd { id = _mock.Kernel.Stdev, pasid_check_pasid = pasid, pasid_check_hwpt_id = table };
        return _mock.Kernel.Test(iommu_test_op.IOMMU_TEST_OP_PASID_CHECK_HWPT, ref command);
    }

    private int Ask(uint pasid, uint group, ulong address)
    {
        var command = new iommu_test_cmd
        {
            trigger_iopf_dev_id = _device.DeviceId, trigger_iopf_pasid = pasid, trigger_iopf_grpid = group, trigger_iopf_perm = 3,
            trigger_iopf_addr = address,
        };
        return _mock.Kernel.Test(iommu_test_op.IOMMU_TEST_OP_TRIGGER_IOPF, ref command);
    }

    private void NeedMock()
    {
        int fd = _t.OpenIommu();
        var command = new iommu_test_cmd { size = (uint)sizeof(iommu_test_cmd) };
        TestHost.Need(
            _t.Ioctl(fd, IOMMU_TEST_CMD, ref command) == -IommuFd.Native.Errno.EOPNOTSUPP, "the kernel was built without CONFIG_IOMMUFD_TEST");
    }
}
