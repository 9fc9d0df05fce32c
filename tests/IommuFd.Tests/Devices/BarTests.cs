using IommuFd.Native.Uapi;
using Moq;

namespace IommuFd.Tests;

public sealed class BarTests
{
    [Theory]
    [InlineData(BarAccess.MappedWhereAllowed, true)]
    [InlineData(BarAccess.Calls, false)]
    public void Both_ways_read_and_write_the_same_registers_little_endian(BarAccess access, bool mapped)
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
        using Bar bar = device.OpenBar(0, access);

        Assert.Equal(mapped, bar.IsMapped);
        bar.Write64(8, 0x8877665544332211);
        Assert.Equal(0x44332211u, bar.Read32(8));
        Assert.Equal(0x8877, bar.Read16(14));
        Assert.Equal(0x11, bar.Read8(8));
        bar.Write8(8, 0xaa);
        bar.Write16(10, 0xbbcc);
        bar.Write32(12, 0xddeeff00);
        Assert.Equal(0xddeeff00bbcc22aa, bar.Read64(8));
    }

    [Fact]
    public void A_region_without_the_MMAP_flag_goes_through_calls()
    {
        FakeMachine machine = new() { BarFlags = Vfio.VFIO_REGION_INFO_FLAG_READ | Vfio.VFIO_REGION_INFO_FLAG_WRITE };
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
        using Bar bar = device.OpenBar(0);
        Assert.False(bar.IsMapped);
        bar.Write32(0, 5);
        Assert.Equal(5u, bar.Read32(0));
    }

    [Theory]
    [InlineData(0x1000)]
    [InlineData(0xffe)]
    [InlineData(ulong.MaxValue - 3)]
    public void An_access_outside_or_not_aligned_is_refused(ulong offset)
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
        using Bar bar = device.OpenBar(0);
        Assert.ThrowsAny<ArgumentException>(() => bar.Read32(offset));
        Assert.ThrowsAny<ArgumentException>(() => bar.Write32(offset, 0));
    }

    [Fact]
    public void A_BAR_that_the_device_does_not_have_is_refused()
    {
        FakeMachine machine = new() { BarSize = 0 };
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => device.OpenBar(0));
        Assert.Equal(FailureCause.OutOfRange, refused.Cause);
    }

    [Fact]
    public void Accesses_allocate_nothing()
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
        using Bar bar = device.OpenBar(0);
        _ = bar.Read32(0);
        bar.Write32(0, 1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
        {
            bar.Write32(0, bar.Read32(4));
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void Disposing_while_other_threads_read_ends_in_ObjectDisposedException_not_in_a_crash()
    {
        for (int round = 0; round < 20; round++)
        {
            FakeMachine machine = new();
            using IommuContext context = machine.Host.OpenContext();
            using BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
            Bar bar = device.OpenBar(0);
            Task[] readers = [.. Enumerable.Range(0, 3).Select(_ => Task.Run(() =>
            {
                while (true)
                {
                    bar.Write32(8, bar.Read32(4));
                }
            }))];
            Thread.Sleep(1);
            bar.Dispose();
            foreach (Task reader in readers)
            {
                Assert.IsType<ObjectDisposedException>(Assert.Throws<AggregateException>(() => reader.Wait(TimeSpan.FromSeconds(10))).InnerException);
            }
        }
    }
    [Fact]
    public async Task A_call_that_is_under_way_keeps_the_descriptor_open_and_the_last_one_closes_it()
    {
        FakeMachine machine = new();
        using ManualResetEventSlim called = new(), mayReturn = new();
        using IommuContext context = machine.Host.OpenContext();
        BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
        Bar bar = device.OpenBar(0, BarAccess.Calls);
        machine.Kernel.Setup(k => k.Pwrite(It.IsAny<int>(), It.IsAny<nint>(), It.IsAny<nuint>(), It.IsAny<long>()))
            .Returns((int _, nint _, nuint count, long _) =>
        {
            called.Set();
            mayReturn.Wait();
            return (nint)count;
        });
        Task write = Task.Run(() => bar.Write32(0, 1));
        called.Wait(TestContext.Current.CancellationToken);
        int open = machine.StillOpen.Count;
        bar.Dispose();
        device.Dispose();
        Assert.Throws<ObjectDisposedException>(() => bar.Write32(0, 1));
        Assert.Equal(open, machine.StillOpen.Count);
        mayReturn.Set();
        await write.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        Assert.Equal(open - 1, machine.StillOpen.Count);
    }

    [Fact]
    public void Disposing_while_other_threads_call_closes_the_descriptor_once()
    {
        for (int round = 0; round < 20; round++)
        {
            FakeMachine machine = new();
            using IommuContext context = machine.Host.OpenContext();
            int before = machine.StillOpen.Count;
            BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
            Bar bar = device.OpenBar(0, BarAccess.Calls);
            Task[] writers = [.. Enumerable.Range(0, 3).Select(_ => Task.Run(() =>
            {
                while (true)
                {
                    bar.Write32(8, 1);
                }
            }))];
            Thread.Sleep(1);
            device.Dispose();
            bar.Dispose();
            foreach (Task writer in writers)
            {
                Assert.IsType<ObjectDisposedException>(Assert.Throws<AggregateException>(() => writer.Wait(TimeSpan.FromSeconds(10))).InnerException);
            }

            Assert.Equal(before, machine.StillOpen.Count);
        }
    }
}
