using IommuFd.Native;
using Xunit;

namespace Native.Tests.Hosts;

/// <summary>The error number of an ioctl is read only after a failure; nothing that the runtime does in between may change it.</summary>
public sealed class IoctlErrnoTests
{
    [Fact]
    public void The_error_number_of_an_ioctl_survives_collections_on_another_thread()
    {
        var kernel = new LinuxKernel();
        var fd = kernel.MemFdCreate("errno", 0);
        Assert.True(fd >= 0);
        using var stop = new CancellationTokenSource();
        var collector = new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
                GC.Collect(0, GCCollectionMode.Forced, blocking: true);
        });
        collector.Start();
        try
        {
            for (var i = 0; i < 50_000; i++)
            {
                Assert.Equal(-Errno.EBADF, kernel.Ioctl(-1, 0x541b, 0));
                Assert.Equal(-Errno.ENOTTY, kernel.Ioctl(fd, 0x1234_5678, 0));
            }
        }
        finally
        {
            stop.Cancel();
            collector.Join();
            _ = kernel.Close(fd);
        }
    }
}
