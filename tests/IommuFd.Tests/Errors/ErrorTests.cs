using IommuFd.Native;
using IommuFd.Native.Uapi;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>The same number means different things; the exception says which, what shows it, and what helps.</summary>
public sealed class ErrorTests
{
    [Theory]
    [InlineData(Errno.EEXIST, FailureCause.IovaTaken)]
    [InlineData(Errno.ENOSPC, FailureCause.NoIovaSpace)]
    [InlineData(Errno.EFAULT, FailureCause.MemoryNotPinnable)]
    [InlineData(Errno.ENOMEM, FailureCause.LockedMemoryLimit)]
    [InlineData(Errno.EOVERFLOW, FailureCause.IovaWraps)]
    [InlineData(Errno.ENOTTY, FailureCause.CommandUnknown)]
    [InlineData(Errno.E2BIG, FailureCause.UnknownField)]
    public void IOMMU_IOAS_MAP_names_the_cause_of_each_errno(int errno, FailureCause cause)
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using Ioas ioas = context.AllocateIoas();
        machine.Fail(Iommufd.IOMMU_IOAS_MAP, errno);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => ioas.Map(0x1000, 0x1000, DmaAccess.Read));
        Assert.Equal((errno, cause, "IOMMU_IOAS_MAP"), (refused.Errno, refused.Cause, refused.Operation));
        Assert.Equal(errno, refused.HResult);
        Assert.Contains("length=0x1000", refused.Message, StringComparison.Ordinal);
        Assert.False(ioas.TryMap(0x1000, 0x1000, DmaAccess.Read, out _, out int shown));
        Assert.Equal(errno, shown);
    }

    [Fact]
    public void EINVAL_of_an_unaligned_IOVA_names_the_alignment()
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using Ioas ioas = context.AllocateIoas();
        machine.Fail(Iommufd.IOMMU_IOAS_MAP, Errno.EINVAL);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => ioas.MapFixed(0x1000, 0x1000, DmaAccess.Read, 0x1001));
        Assert.Contains("alignment=0x1000", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void EINVAL_of_a_reserved_IOVA_shows_the_permitted_ranges()
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using Ioas ioas = context.AllocateIoas();
        machine.Fail(Iommufd.IOMMU_IOAS_MAP, Errno.EINVAL);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => ioas.MapFixed(0x1000, 0x1000, DmaAccess.Read, 0xfee00000));
        Assert.Equal(FailureCause.IovaNotPermitted, refused.Cause);
        Assert.Contains("permitted=0x0-0xfedfffff 0xfef00000-0xffffffffffffffff", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Ranges_are_asked_for_again_when_they_did_not_fit()
    {
        FakeMachine machine =
            new() { Ranges = [.. Enumerable.Range(0, 20).Select(static i => new IovaRange((ulong)i << 32, ((ulong)i << 32) + 0xfff))] };
        using IommuContext context = machine.Host.OpenContext();
        using Ioas ioas = context.AllocateIoas();
        Assert.Equal(machine.Ranges, ioas.GetIovaRanges(out ulong alignment));
        Assert.Equal(0x1000u, alignment);
        Assert.Equal(["IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_IOVA_RANGES"], machine.Calls[^2..]);
    }

    [Fact]
    public void A_second_device_with_the_same_cookie_is_EBUSY_and_is_not_bound()
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
        using VfioDeviceFile second = machine.OpenDevice();
        IommuFdException refused = Assert.Throws<IommuFdException>(() => second.Bind(context, cookie: 1));
        Assert.Equal((Errno.EBUSY, FailureCause.DuplicateCookie), (refused.Errno, refused.Cause));
        Assert.Single(machine.Calls, "VFIO_DEVICE_BIND_IOMMUFD");
    }

    [Fact]
    public void EPERM_at_bind_names_the_group_member_that_blocks_it()
    {
        using TemporarySysfs sysfs = new();
        sysfs.Function("0000:00:04.0", group: 3, driver: "vfio-pci", vfio: "vfio0");
        sysfs.Function("0000:00:04.1", group: 3, driver: "e1000e");
        IommuFdException refused = Bind(sysfs, Errno.EPERM);
        Assert.Equal(FailureCause.GroupNotViable, refused.Cause);
        Assert.Contains(refused.Evidence, static e => e is { Name: "/sys/bus/pci/devices/0000:00:04.1/driver", Value: "e1000e" });
        Assert.Equal("Run 'vfio bind 0000:00:04.1'.", refused.Remedy);
    }

    [Fact]
    public void EPERM_at_bind_of_a_viable_group_is_interrupt_isolation()
    {
        using TemporarySysfs sysfs = new();
        sysfs.Function("0000:00:04.0", group: 3, driver: "vfio-pci", vfio: "vfio0");
        sysfs.Write("/sys/module/iommufd/parameters/allow_unsafe_interrupts", "N\n");
        IommuFdException refused = Bind(sysfs, Errno.EPERM);
        Assert.Equal(FailureCause.InterruptsNotIsolated, refused.Cause);
        Assert.Contains("/sys/module/iommufd/parameters/allow_unsafe_interrupts=N", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Opening_a_function_that_is_not_there_not_bound_or_without_cdev_says_which()
    {
        using TemporarySysfs sysfs = new();
        sysfs.Function("0000:00:05.0", group: 4, driver: "nvme");
        sysfs.Function("0000:00:06.0", group: 5, driver: "vfio-pci", vfio: "vfio3", node: false);
        using IommuHost host = sysfs.Host(new FakeMachine());
        Assert.Equal(FailureCause.NoSuchNode, Refused(host, "0000:00:07.0").Cause);
        IommuFdException unbound = Refused(host, "0000:00:05.0");
        Assert.Equal(FailureCause.NotBoundToVfio, unbound.Cause);
        Assert.Equal("Run 'vfio bind 0000:00:05.0'.", unbound.Remedy);
        using IommuContext context = host.OpenContext(ContextKind.Iommufd);
        using VfioDeviceFile group = host.OpenDevice(PciAddress.Parse("0000:00:06.0"));
        Assert.Equal("/dev/vfio/5", group.Path);
        Assert.Equal(FailureCause.NoCharacterDevice, Assert.Throws<IommuFdException>(() => group.Bind(context, cookie: 1)).Cause);
    }

    private static IommuFdException Refused(IommuHost host, string address) =>
        Assert.Throws<IommuFdException>(() => host.OpenDevice(PciAddress.Parse(address)));

    private static IommuFdException Bind(TemporarySysfs sysfs, int errno)
    {
        FakeMachine machine = new();
        machine.Fail(Vfio.VFIO_DEVICE_BIND_IOMMUFD, errno);
        using IommuHost host = sysfs.Host(machine);
        using IommuContext context = host.OpenContext();
        using VfioDeviceFile file = host.OpenDevice(PciAddress.Parse("0000:00:04.0"));
        return Assert.Throws<IommuFdException>(() => file.Bind(context, cookie: 1));
    }
}
