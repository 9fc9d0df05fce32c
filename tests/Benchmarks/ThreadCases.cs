using System.Runtime.InteropServices;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;

namespace Benchmarks;

/// <summary>Two threads, each with a device of its own, in one domain.</summary>
internal static unsafe partial class ThreadCases
{
    private const ulong Pages = 64;

    public static IEnumerable<Case> All()
    {
        yield return Case.Absolute(11, "DMA of 4 KiB on two threads, processor time against one", "x", 1.15, Dma);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int ClockGetTime(int clock, TimeSpec* time);

    // CLOCK_THREAD_CPUTIME_ID: what others do on the machine does not count.
    private static double ThreadTime()
    {
        TimeSpec time;
        _ = ClockGetTime(3, &time);
        return (time.Seconds * 1e9) + time.Nanoseconds;
    }

    // SAFETY: the buffers live as long as the process.
    private static Func<double> Dma()
    {
        var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 64 << 20 });
        var unit = new VtdUnit(memory, new VtdOptions { ScalableMode = false });
        var root = memory.Allocate();
        var contexts = memory.Allocate();
        var table = new PageTable<VtdSecondStage>(memory, VtdSecondStage.Geometry(48, 46));
        if (table.Map(0, memory.Allocate(20), 2 * Pages * 4096, PageAttributes.Read | PageAttributes.Write) != 0)
            throw new InvalidOperationException("map failed");
        memory.Write64(root, contexts | 1);
        for (ulong device = 0x18; device <= 0x20; device += 8)
        {
            memory.Write64(contexts + (device * 16), table.Root | 1);
            memory.Write64(contexts + (device * 16) + 8, 2 | (5 << 8));
        }

        unit.WriteRegister(VtdRegister.RTADDR, 8, root);
        unit.WriteRegister(VtdRegister.GCMD, 4, 0x4000_0000);
        unit.WriteRegister(VtdRegister.GCMD, 4, 0x8000_0000);
        nint[] buffers = [(nint)NativeMemory.AlignedAlloc(4096, 4096), (nint)NativeMemory.AlignedAlloc(4096, 4096)];
        double Run(int which)
        {
            const int n = 20_000;
            var buffer = (void*)buffers[which];
            var start = ThreadTime();
            for (ulong i = 0; i < n; i++)
                _ = unit.Write((ushort)(0x18 + (8 * which)), DmaRequest.NoPasid, ((ulong)which * Pages * 4096) + (i % Pages * 4096), buffer, 4096);
            return (ThreadTime() - start) / n;
        }

        return () =>
        {
            var one = Math.Min(Run(0), Run(1));
            double other = 0;
            using var barrier = new Barrier(2);
            var thread = new Thread(() =>
            {
                barrier.SignalAndWait();
                other = Run(1);
            });
            thread.Start();
            barrier.SignalAndWait();
            var mine = Run(0);
            thread.Join();
            return (mine + other) / 2 / one;
        };
    }
}
