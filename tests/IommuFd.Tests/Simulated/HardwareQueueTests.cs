using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.Tests;

/// <summary>Hardware queues, with a device of the kernel's test front end (IOMMU_TEST_CMD): no modelled IOMMU has them.</summary>
public sealed class HardwareQueueTests : IDisposable
{
    private const ulong Base = iommu_test_cmd.MOCK_APERTURE_START;
    private const iommu_hw_queue_type Selftest = (iommu_hw_queue_type)iommu_test_cmd.IOMMU_HW_QUEUE_TYPE_SELFTEST;
    private readonly Simulated _machine = new();
    private readonly IommuContext _context;
    private readonly Ioas _ioas;
    private readonly DmaBuffer _buffer;
    private readonly VirtualIommu _iommu;

    public unsafe HardwareQueueTests()
    {
        _context = _machine.Host.OpenContext();
        _ioas = _context.AllocateIoas();
        iommu_test_cmd mock = new() { size = (uint)sizeof(iommu_test_cmd), op = (uint)iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN, id = _ioas.Id };
        Assert.Equal(0, _context.Call(iommu_test_cmd.IOMMU_TEST_CMD, ref mock));
        uint device = mock.mock_domain_out_idev_id;
        using HwptPaging parent = _context.AllocateHwptPaging(device, _ioas, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT);
        _iommu = _context.AllocateVirtualIommu(device, parent, (iommu_viommu_type)iommu_test_cmd.IOMMU_VIOMMU_TYPE_SELFTEST);
        _buffer = _machine.Host.AllocateBuffer(8192);
        _ioas.MapFixed(_buffer.Address, _buffer.Length, DmaAccess.ReadWrite, Base);
    }

    public void Dispose()
    {
        _iommu.Dispose();
        _ioas.Dispose();
        _context.Dispose();
        _buffer.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void The_memory_of_a_queue_stays_mapped_as_long_as_the_queue()
    {
        using (HardwareQueue queue = _iommu.AllocateHardwareQueue(Selftest, 0, Base, 4096))
        {
            Assert.Equal(Errno.EBUSY, Assert.Throws<IommuFdException>(() => _ioas.Unmap(Base, _buffer.Length)).Errno);
        }

        Assert.Equal(_buffer.Length, _ioas.Unmap(Base, _buffer.Length));
        Assert.Equal(Errno.ENOENT, Assert.Throws<IommuFdException>(() => _iommu.AllocateHardwareQueue(Selftest, 0, Base, 4096)).Errno);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Queues_that_depend_on_each_other_are_disposed_in_any_order(bool firstGoesFirst)
    {
        HardwareQueue first = _iommu.AllocateHardwareQueue(Selftest, 0, Base, 16), second = _iommu.AllocateHardwareQueue(Selftest, 1, Base + 64, 16);
        (firstGoesFirst ? first : second).Dispose();
        (firstGoesFirst ? second : first).Dispose();
        Assert.Equal(_buffer.Length, _ioas.Unmap(Base, _buffer.Length));
        Assert.Equal(-Errno.ENOENT, _context.Destroy(first.Id));
        Assert.Equal(-Errno.ENOENT, _context.Destroy(second.Id));
    }
}
