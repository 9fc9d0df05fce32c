using System.Diagnostics;
using IommuFd;
using IommuFd.HwSim;
using IommuFd.Sysfs;
using NvmeDriver;

namespace Benchmarks;

/// <summary>The sample driver on the simulated controller: 4 KiB random reads of 1 MiB into 128 KiB, 32 under way in each queue, completions by polling.</summary>
internal sealed class NvmeCases : IDisposable
{
    private const int Block = 4096, Depth = 32, Span = 1 << 20;
    private readonly SimulatedHost _machine = new(Topology.ByName("intel"));
    private readonly IommuHost _host;
    private readonly NvmeDevice _device;
    private readonly Reader[] _readers;

    public NvmeCases()
    {
        _host = IommuHost.Over(_machine);
        var address = PciAddress.Parse("0000:00:05.0");
        var binder = new DriverBinder(_machine.Sysfs, new MemoryBindingStore());
        _ = binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci));
        _device = new NvmeDevice(_host, address, new NvmeOptions { Queues = 2, Depth = Depth, Interrupts = false });
        _readers = [new Reader(_device, 0), new Reader(_device, 1)];
    }

    public static IEnumerable<Case> All(Func<NvmeCases> cases)
    {
        yield return Case.Absolute(2, "bytes allocated by an NVMe read", "B", 0, () => { var c = cases(); return c.Allocated; }) with { Times = (1, 3) };
        yield return new Case(9, "NVMe, 4 KiB random reads, against a minimal model in C", "nvme", "ns", double.NaN, () => { var c = cases(); return () => c._readers[0].Run(2_048); });
        yield return Case.Absolute(9, "NVMe, 4 KiB random reads, one thread", "M/s", 2.3, () => { var c = cases(); return () => 1000 / c._readers[0].Run(2_048); }) with { IsFloor = true };
        yield return Case.Absolute(9, "NVMe, two threads with a queue each, against one", "x", 1.6, () => { var c = cases(); return c.TwoThreads; }) with { IsFloor = true };
        yield return new Case(9, "two threads against one beside the minimal model in C, on this machine", "nvme-threads", "x", double.NaN, () => { var c = cases(); return c.TwoThreads; }) with { IsFloor = true };
    }

    public void Dispose()
    {
        _device.Dispose();
        _host.Dispose();
        _machine.Dispose();
    }

    private double Allocated()
    {
        _ = _readers[0].Run(2000);
        var before = GC.GetAllocatedBytesForCurrentThread();
        _ = _readers[0].Run(2000);
        return (GC.GetAllocatedBytesForCurrentThread() - before) / 2000.0;
    }

    private double TwoThreads()
    {
        // 40 ms: what the host needs to spread two threads over two processors is not of the threads' making.
        const int n = 131_072;
        var one = _readers[0].Run(n);
        var go = false;
        var other = new Thread(() =>
        {
            Volatile.Write(ref go, true);
            _ = _readers[1].Run(n);
        });
        other.Start();
        while (!Volatile.Read(ref go))
            Thread.SpinWait(10); // SpinWait.SpinUntil sleeps for a millisecond
        var from = Stopwatch.GetTimestamp();
        _ = _readers[0].Run(n);
        other.Join();
        var both = Stopwatch.GetElapsedTime(from).TotalNanoseconds / (2 * n);

        // The better of before and after: a single thread that was disturbed would make two look good.
        return Math.Min(one, _readers[0].Run(n)) / both;
    }

    private sealed class Reader(NvmeDevice device, int queue)
    {
        private readonly NvmeQueue _queue = device.Queues[queue];
        private readonly Mapping _memory = device.AllocateMemory(Block * Depth);
        private readonly ValueTask[] _tasks = new ValueTask[Depth];

        // Keeps the tasks, which are written, apart from the other reader, which another thread reads.
        private readonly byte[] _behind = new byte[256];
        private ulong _random = 88172645463325252 + (ulong)queue;

        // Nanoseconds per read.
        public double Run(int reads)
        {
            var from = Stopwatch.GetTimestamp();
            for (var done = 0; done < reads; done += Depth)
            {
                for (var i = 0; i < Depth; i++)
                {
                    _random ^= _random << 13;
                    _random ^= _random >> 7;
                    _random ^= _random << 17;
#pragma warning disable CA2012 // each task is kept here and consumed once, below
                    _tasks[i] = _queue.ReadAsync(_random % (Span / Block) * (ulong)(Block / device.BlockSize), _memory, (ulong)(i * Block), Block);
#pragma warning restore CA2012
                }

                while (_queue.Running != 0)
                    _ = _queue.Poll();
                for (var i = 0; i < Depth; i++)
                    _tasks[i].GetAwaiter().GetResult();
            }

            return Stopwatch.GetElapsedTime(from).TotalNanoseconds / reads;
        }
    }
}
