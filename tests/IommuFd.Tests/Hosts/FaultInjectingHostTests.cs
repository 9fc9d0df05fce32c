using IommuFd.Native;

namespace IommuFd.Tests;

public sealed class FaultInjectingHostTests
{
    [Fact]
    public void The_nth_call_of_a_kind_fails_and_the_others_do_not()
    {
        using FaultInjectingHost host = new(new LinuxHost(), new FaultRule(Errno.EMFILE, SystemCall.EventFd, Nth: 2));
        int first = host.Kernel.EventFd(0, Libc.EFD_CLOEXEC), second = host.Kernel.EventFd(0, Libc.EFD_CLOEXEC),
            third = host.Kernel.EventFd(0, Libc.EFD_CLOEXEC);
        Assert.True(first >= 0 && third >= 0);
        Assert.Equal(-Errno.EMFILE, second);
        Assert.Equal(1, host.Injected);
        host.Kernel.Close(first);
        host.Kernel.Close(third);
        Assert.Equal(5, host.Calls);
    }

    [Fact]
    public void An_ioctl_can_be_picked_by_its_request()
    {
        FakeMachine machine = new();
        using FaultInjectingHost faulty = new(machine.Host.Host, new FaultRule(Errno.ENOMEM, SystemCall.Ioctl, Native.Uapi.Iommufd.IOMMU_IOAS_ALLOC));
        using IommuHost host = IommuHost.Over(faulty);
        using IommuContext context = host.OpenContext();
        IommuFdException refused = Assert.Throws<IommuFdException>(() => context.AllocateIoas());
        Assert.Equal((Errno.ENOMEM, "IOMMU_IOAS_ALLOC"), (refused.Errno, refused.Operation));
        context.AllocateIoas().Dispose();
    }

    [Fact]
    public void A_failing_close_closes_as_on_Linux()
    {
        using FaultInjectingHost host = new(new LinuxHost(), new FaultRule(Errno.EINTR, SystemCall.Close));

        // A number that no other test is given meanwhile.
        int low = host.Kernel.EventFd(0, Libc.EFD_CLOEXEC), fd = host.Kernel.Fcntl(low, Libc.F_DUPFD_CLOEXEC, 900);
        Assert.True(fd >= 900);
        Assert.Equal(-Errno.EINTR, host.Kernel.Close(fd));
        Assert.Equal(-Errno.EBADF, host.Kernel.Close(fd));
        Assert.Equal(0, host.Kernel.Close(low));
    }

    [Fact]
    public void Whichever_call_of_the_whole_path_fails_nothing_stays_open_or_mapped()
    {
        long total = Run([], out int leaked, out _);
        Assert.Equal(0, leaked);
        Assert.True(total > 15);
        for (int nth = 1; nth <= total; nth++)
        {
            _ = Run([new FaultRule(Errno.ENOMEM, Nth: nth)], out leaked, out string calls);
            Assert.True(leaked == 0, $"call {nth}: {leaked} open: {calls}");
        }
    }

    private static long Run(FaultRule[] rules, out int leaked, out string calls)
    {
        FakeMachine machine = new();
        FaultInjectingHost faulty = new(machine.Host.Host, rules);
        using (IommuHost host = IommuHost.Over(faulty))
        {
            try
            {
                using IommuContext context = host.OpenContext();
                using VfioDeviceFile file = host.OpenDevice("/dev/vfio/devices/vfio0");
                using BoundDevice device = file.Bind(context, cookie: 1);
                using IoAddressSpace space = context.CreateAddressSpace();
                using Attachment attachment = device.Attach(space);
                using DmaBuffer buffer = host.AllocateBuffer(4096, new DmaBufferOptions { MemFd = true });
                using Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);
                using Bar bar = device.OpenBar(0);
                using InterruptSet interrupts = device.EnableInterrupts(InterruptKind.Msi, 2);
                machine.Signal(0);
                _ = interrupts[0].Wait(TimeSpan.FromSeconds(1));
            }
            catch (IommuFdException refused)
            {
                Assert.Equal(Errno.ENOMEM, refused.Errno);
            }
        }

        leaked = machine.StillOpen.Count;
        calls = string.Join(", ", machine.StillOpen) + " after " + string.Join(", ", machine.Calls);
        return faulty.Calls;
    }
}
