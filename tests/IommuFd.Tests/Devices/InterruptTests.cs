using System.Diagnostics;

namespace IommuFd.Tests;

public sealed class InterruptTests
{
    [Fact]
    public async Task A_wait_returns_how_often_the_interrupt_fired()
    {
        using Setup setup = new();
        setup.Machine.Signal(0);
        setup.Machine.Signal(0);
        Assert.Equal(2u, await setup.Interrupts[0].WaitAsync());

        ValueTask<ulong> wait = setup.Interrupts[0].WaitAsync();
        Assert.False(wait.IsCompleted);
        setup.Machine.Signal(0);
        Assert.Equal(1u, await wait);
    }

    [Fact]
    public async Task Each_interrupt_has_its_own_event()
    {
        using Setup setup = new();
        setup.Machine.Signal(1);
        Assert.Equal(1u, await setup.Interrupts[1].WaitAsync());
        Assert.Equal(0u, setup.Interrupts[0].Take());
    }

    [Fact]
    public async Task Continuations_do_not_run_on_the_reactor()
    {
        using Setup setup = new();
        Task<string?> waiter = Task.Run(async () =>
        {
            _ = await setup.Interrupts[0].WaitAsync().ConfigureAwait(false);
            return Thread.CurrentThread.Name;
        });
        await Task.Delay(20);
        setup.Machine.Signal(0);
        Assert.NotEqual("IommuFd reactor", await waiter);
    }

    [Fact]
    public async Task A_wait_can_be_cancelled_and_repeated()
    {
        using Setup setup = new();
        using CancellationTokenSource source = new();
        ValueTask<ulong> wait = setup.Interrupts[0].WaitAsync(source.Token);
        source.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await wait);

        setup.Machine.Signal(0);
        Assert.Equal(1u, await setup.Interrupts[0].WaitAsync());
    }

    [Fact]
    public async Task Turning_the_interrupts_off_ends_a_wait_with_ObjectDisposedException()
    {
        using Setup setup = new();
        ValueTask<ulong> wait = setup.Interrupts[0].WaitAsync();
        Task<ulong> blocked = Task.Run(() => setup.Interrupts[1].Wait(Timeout.InfiniteTimeSpan));
        await Task.Delay(20);

        setup.Interrupts.Dispose();

        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await wait);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => blocked);
    }

    [Fact]
    public async Task Disposing_the_host_ends_a_wait()
    {
        using Setup setup = new();
        ValueTask<ulong> wait = setup.Interrupts[0].WaitAsync();
        setup.Machine.Host.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await wait);
    }

    [Fact]
    public void A_synchronous_wait_ends_after_its_timeout()
    {
        using Setup setup = new();
        Stopwatch watch = Stopwatch.StartNew();
        Assert.Equal(0u, setup.Interrupts[0].Wait(TimeSpan.FromMilliseconds(30)));
        Assert.InRange(watch.ElapsedMilliseconds, 25, 5000);
    }

    [Fact]
    public async Task Two_asynchronous_waits_at_once_are_refused()
    {
        using Setup setup = new();
        ValueTask<ulong> wait = setup.Interrupts[0].WaitAsync();
        await Assert.ThrowsAsync<InvalidOperationException>(() => setup.Interrupts[0].WaitAsync().AsTask());
        setup.Machine.Signal(0);
        Assert.Equal(1u, await wait);
    }

    [Fact]
    public void More_interrupts_than_the_device_has_are_refused_by_name()
    {
        using Setup setup = new();
        IommuFdException refused = Assert.Throws<IommuFdException>(() => setup.Device.EnableInterrupts(InterruptKind.Msi, 5));
        Assert.Equal(FailureCause.OutOfRange, refused.Cause);
        Assert.Contains("4 interrupts", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ten_thousand_waits_against_ten_thousand_signals_lose_none()
    {
        using Setup setup = new();
        const int Count = 10_000;
        Task signals = Task.Run(() =>
        {
            for (int i = 0; i < Count; i++)
            {
                setup.Machine.Signal(0);
            }
        });
        ulong seen = 0;
        using CancellationTokenSource limit = new(TimeSpan.FromSeconds(30));
        while (seen < Count)
        {
            seen += await setup.Interrupts[0].WaitAsync(limit.Token);
        }

        await signals;
        Assert.Equal((ulong)Count, seen);
    }

    private sealed class Setup : IDisposable
    {
        private readonly IommuContext _context;

        internal Setup()
        {
            _context = Machine.Host.OpenContext();
            Device = Machine.OpenDevice().Bind(_context, cookie: 1);
            Interrupts = Device.EnableInterrupts(InterruptKind.Msi, 2);
        }

        internal FakeMachine Machine { get; } = new();

        internal BoundDevice Device { get; }

        internal InterruptSet Interrupts { get; }

        public void Dispose()
        {
            Interrupts.Dispose();
            Device.Dispose();
            _context.Dispose();
            Machine.Host.Dispose();
        }
    }
}
