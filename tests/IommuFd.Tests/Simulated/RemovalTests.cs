namespace IommuFd.Tests;

/// <summary>The device goes while a program has it: the host asks first, and what comes after is one clear error.</summary>
public sealed class RemovalTests
{
    [Fact]
    public async Task A_host_that_takes_the_device_asks_and_waits_until_everything_is_disposed()
    {
        using Simulated machine = new();
        IommuContext context = machine.Host.OpenContext();
        BoundDevice device = machine.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        InterruptSet request = device.EnableInterrupts(InterruptKind.Request), work = device.EnableInterrupts(InterruptKind.Msi);
        Bar bar = device.OpenBar(0);
        Task<int> removal = Task.Run(() => machine.Host.Sysfs.WriteText($"{Sysfs.PciBus.DevicePath(Simulated.Edu)}/remove", "1"));
        using CancellationTokenSource limit = new(TimeSpan.FromSeconds(20));
        ValueTask<ulong> blocked = work[0].WaitAsync(limit.Token);

        Assert.True(await request[0].WaitAsync(limit.Token) >= 1);
        Assert.False(removal.IsCompleted);
        request.Dispose();
        work.Dispose();
        device.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await blocked);
        Assert.False(removal.IsCompleted);
        bar.Dispose();
        Assert.Equal(0, await removal.WaitAsync(TimeSpan.FromSeconds(20)));

        IommuFdException gone = Assert.Throws<IommuFdException>(() => machine.Host.OpenDevice(Simulated.Edu));
        Assert.Equal(FailureCause.NoSuchNode, gone.Cause);
        context.Dispose();
    }
}
