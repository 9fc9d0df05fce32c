using IommuFd.HwSim.Kernel;
using Xunit;

namespace HwSim.Tests.Kernel;

/// <summary>When a file of the simulated kernel is released: after the last reference and the last call, and once.</summary>
public sealed class SimulatedFileTests
{
    [Fact]
    public void The_last_reference_releases_the_file()
    {
        var file = new File();
        file.Get();
        file.Put();
        Assert.Equal(0, file.Releases);
        file.Put();
        Assert.Equal(1, file.Releases);
        Assert.False(file.TryGet());
        Assert.False(file.TryEnter(out _));
        Assert.Equal(1, file.Releases);
    }

    [Fact]
    public void A_call_that_is_under_way_delays_the_release_and_no_other_can_begin()
    {
        var file = new File();
        Assert.True(file.TryEnter(out int entered));
        file.Put();
        Assert.Equal(0, file.Releases);
        Assert.False(file.TryEnter(out _));
        Assert.False(file.TryGet());
        Assert.Equal(0, file.Releases);
        file.Exit(entered);
        Assert.Equal(1, file.Releases);
    }

    [Fact]
    public void A_reference_that_a_call_takes_keeps_the_file_beyond_the_call()
    {
        var file = new File();
        Assert.True(file.TryEnter(out int entered));
        file.Put();
        file.Get();
        file.Exit(entered);
        Assert.Equal(0, file.Releases);
        file.Put();
        Assert.Equal(1, file.Releases);
    }

    [Fact]
    public void Calls_of_several_threads_never_meet_a_released_file_and_it_is_released_once()
    {
        for (int round = 0; round < 60; round++)
        {
            var file = new File();
            var calls = new Thread[3];
            int early = 0;
            for (int i = 0; i < calls.Length; i++)
            {
                calls[i] = new Thread(() =>
                {
                    while (file.TryEnter(out int entered))
                    {
                        _ = Interlocked.Add(ref early, file.Releases);
                        file.Exit(entered);
                    }
                });
                calls[i].Start();
            }

            Thread.SpinWait(round * 250);
            Assert.True(file.TryGet());
            file.Put();
            file.Put();
            Array.ForEach(calls, static call => call.Join());
            Assert.Equal((0, 1), (early, file.Releases));
        }
    }

    private sealed class File : SimulatedFile
    {
        private int _releases;

        public int Releases => Volatile.Read(ref _releases);

        protected override void Release() => Interlocked.Increment(ref _releases);
    }
}
