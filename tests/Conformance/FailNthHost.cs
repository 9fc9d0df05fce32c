using IommuFd.HwSim;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;

namespace Conformance;

/// <summary>
/// A simulated machine on which every ioctl of a case first fails at everything that can fail in it, one after the other: copies from and to user
/// memory, pins, physical memory, new descriptors. Each time the errno must be the one for that, and nothing may be left behind. Then the call is
/// made without a fault, and the case goes on as if nothing had happened.
/// </summary>
internal sealed class FailNthHost(SimulatedHost inner, FailNth faults) : IHost
{
    public HostKind Kind => inner.Kind;

    public string Description => inner.Description;

    public IKernel Kernel { get; } = new FailNthKernel(inner, faults);

    public ISysfs Sysfs => inner.Sysfs;

    public void Dispose() => inner.Dispose();
}

internal sealed class FailNthKernel(SimulatedHost host, FailNth faults) : PassThroughKernel(host.Kernel)
{
    // A command that can fail in more places than this does not end.
    private const int Most = 5000;

    private readonly InProcessUserMemory _memory = new(host.Process);

    public override int Ioctl(int fd, uint request, nint argument)
    {
        faults.SparesAnswers = !TakesBack(request, argument);
        byte[] saved = Save(request, argument);
        string before = host.DescribeHoldings();
        int last = LastFailure(request, argument);
        for (int n = 1; n < Most; n++)
        {
            Restore(saved, argument);
            faults.Left = n > last ? int.MaxValue : n;
            int result = base.Ioctl(fd, request, argument);
            int left = faults.Left;
            faults.Left = 0;
            if (left != 0)
            {
                return result;
            }

            // Interrupt vectors that cannot be had are ENOSPC, whatever the reason.
            Assert.True(
                result is -Errno.EFAULT or -Errno.ENOMEM or -Errno.EMFILE
                    || (result == -Errno.ENOSPC && request == IommuFd.Native.Uapi.Vfio.VFIO_DEVICE_SET_IRQS),
                    $"request {request:x}, failure {n}: {(result < 0 ? Errno.Name(-result) : "succeeded, " + result)}");
            string after = host.DescribeHoldings();
            Assert.True(before == after, $"request {request:x}, failure {n}, {Errno.Name(-result)}: before\n{before}\nafter\n{after}");
        }

        throw new InvalidOperationException($"request {request:x} never succeeds");
    }

    // IOMMU_HWPT_INVALIDATE answers how far it came also when it fails: the next attempt must start from the beginning.
    private unsafe byte[] Save(uint request, nint argument)
    {
        byte[] saved = new byte[sizeof(iommu_hwpt_invalidate)];
        fixed (byte* pointer = saved)
        {
            return request == Iommufd.IOMMU_HWPT_INVALIDATE && _memory.CopyFrom((ulong)argument, pointer, (nuint)saved.Length) == 0 ? saved : [];
        }
    }

    private unsafe void Restore(byte[] saved, nint argument)
    {
        fixed (byte* pointer = saved)
        {
            _ = saved.Length == 0 ? 0 : _memory.CopyTo((ulong)argument, pointer, (nuint)saved.Length);
        }
    }

    // Commands that have done their work when they answer, and leave it done, or undo more, when the answer cannot be written.
    private bool TakesBack(uint request, nint argument) => request switch
    {
        Iommufd.IOMMU_IOAS_MAP or Iommufd.IOMMU_IOAS_MAP_FILE or Iommufd.IOMMU_IOAS_COPY or Iommufd.IOMMU_IOAS_UNMAP => false,
        IommuFd.Native.Uapi.Vfio.VFIO_IOMMU_UNMAP_DMA or IommuFd.Native.Uapi.Vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT => false,
        iommu_test_cmd.IOMMU_TEST_CMD =>
            (iommu_test_op)Word(argument) is not (iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE or iommu_test_op.IOMMU_TEST_OP_PASID_REPLACE),
        _ => true,
    };

    // A part of a dirty bitmap that cannot be written is skipped, and what it would have said is lost; a new migration state is entered before its
    // file is made.
    private int LastFailure(uint request, nint argument) => request switch
    {
        Iommufd.IOMMU_HWPT_GET_DIRTY_BITMAP => 2,
        IommuFd.Native.Uapi.Vfio.VFIO_DEVICE_FEATURE when (
            Word(argument) & 0xffff) == IommuFd.Native.Uapi.Vfio.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE => 2,
        _ => Most,
    };

    // The word after the size.
    private unsafe uint Word(nint argument)
    {
        uint word = 0;
        _ = _memory.CopyFrom((ulong)argument + 4, &word, sizeof(uint));
        return word;
    }
}
