using IommuFd.HwSim.Kernel;
using Xunit;

namespace HwSim.Tests.Kernel;

/// <summary>The lock of a device's memory: many readers, seldom a writer.</summary>
public sealed class StripedLockTests
{
    private readonly StripedLock _lock = new();

    [Fact]
    public void Readers_do_not_wait_for_each_other()
    {
        int mine = _lock.EnterRead();
        var other = new Thread(() => _lock.ExitRead(_lock.EnterRead()));
        other.Start();
        Assert.True(other.Join(TimeSpan.FromSeconds(10)));
        _lock.ExitRead(mine);
    }

    [Fact]
    public void A_writer_waits_for_a_reader_and_a_reader_for_a_writer()
    {
        int reading = _lock.EnterRead();
        using ManualResetEventSlim writing = new(), mayEnd = new(), read = new();
        var writer = new Thread(() =>
        {
            using (_lock.Write())
            {
                writing.Set();
                mayEnd.Wait();
            }
        });
        writer.Start();
        Assert.False(writing.Wait(20, TestContext.Current.CancellationToken));
        _lock.ExitRead(reading);
        Assert.True(writing.Wait(10_000, TestContext.Current.CancellationToken));
        var reader = new Thread(() =>
        {
            int entered = _lock.EnterRead();
            read.Set();
            _lock.ExitRead(entered);
        });
        reader.Start();
        Assert.False(read.Wait(20, TestContext.Current.CancellationToken));
        mayEnd.Set();
        Assert.True(read.Wait(10_000, TestContext.Current.CancellationToken));
        writer.Join();
        reader.Join();
    }

    [Fact]
    public void A_writer_may_write_and_read_inside()
    {
        _lock.Enter();
        _lock.Enter();
        _lock.ExitRead(_lock.EnterRead());
        _lock.Exit();
        _lock.Exit();
        _lock.ExitRead(_lock.EnterRead());
    }

    [Fact]
    public void No_reader_sees_half_of_what_a_writer_does()
    {
        int first = 0, second = 0, torn = 0;
        var readers = new Thread[2];
        bool done = false;
        for (int i = 0; i < readers.Length; i++)
        {
            readers[i] = new Thread(() =>
            {
                while (!Volatile.Read(ref done))
                {
                    int entered = _lock.EnterRead();
                    torn += Volatile.Read(ref first) == Volatile.Read(ref second) ? 0 : 1;
                    _lock.ExitRead(entered);
                }
            });
            readers[i].Start();
        }

        for (int i = 0; i < 100; i++)
        {
            using (_lock.Write())
            {
                Volatile.Write(ref first, i);
                Thread.SpinWait(20);
                Volatile.Write(ref second, i);
            }

            Thread.SpinWait(200);
        }

        Volatile.Write(ref done, true);
        Array.ForEach(readers, static reader => reader.Join());
        Assert.Equal(0, torn);
    }
}
