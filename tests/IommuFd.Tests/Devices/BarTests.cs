using IommuFd.Native.Uapi;

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
}
