using System.Diagnostics;
using System.Globalization;
using CommandLine;
using IommuFd;

namespace NvmeDriver;

/// <summary>Options of nvme-bench.</summary>
[Verb("bench", HelpText = "nvme-bench: measures transfers. Writing destroys what the namespace holds.")]
internal sealed class BenchOptions : DeviceOptions
{
    [Option('s', "size", Default = 4096, HelpText = "Bytes of a transfer, 512 to 1048576.")]
    public int Size { get; set; }

    [Option('q', "queues", Default = 1, HelpText = "Queue pairs, each with a thread of its own.")]
    public int Queues { get; set; }

    [Option('d', "depth", Default = 32, HelpText = "Transfers that a queue pair has under way.")]
    public int Depth { get; set; }

    [Option('t', "seconds", Default = 3.0, HelpText = "How long.")]
    public double Seconds { get; set; }

    [Option('w', "write", HelpText = "Write instead of reading.")]
    public bool Write { get; set; }

    [Option("sequential", HelpText = "Ascending blocks instead of random ones.")]
    public bool Sequential { get; set; }

    [Option("interrupts", HelpText = "Wait for interrupts instead of polling.")]
    public bool Interrupts { get; set; }
}

/// <summary>Keeps queues full for a while and says how it went.</summary>
internal static class NvmeBench
{
    public static int Run(BenchOptions options)
    {
        using IommuHost host = options.OpenHost(out IommuFd.Sysfs.PciAddress address);
        using NvmeDevice device = new(host, address, new NvmeOptions
        {
            Queues = options.Queues, Depth = options.Depth, Interrupts = options.Interrupts, Sgl = options.Sgl, ShadowDoorbells = options.Shadow,
        });
        if (options.Size <= 0 || options.Size > NvmeDevice.LargestCommand || options.Size % device.BlockSize != 0)
            throw new ArgumentException($"--size {options.Size} is not a multiple of {device.BlockSize} up to {NvmeDevice.LargestCommand}.");
        Console.Error.WriteLine(
            $"{device.Model}: {(options.Write ? "writes" : "reads")} of {options.Size} bytes, {device.Queues.Count} queue pairs, {options.Depth} under way in each, "
            + $"{(options.Interrupts ? "interrupts" : "polling")}, {(device.UsesSgl ? "SGL" : "PRP")}, {(device.UsesShadowDoorbells ? "shadow doorbells" : "doorbell registers")}");
        Worker[] workers = [.. device.Queues.Select((queue, i) => new Worker(device, queue, options, i))];
        Thread[] threads = [.. workers.Select(static worker => new Thread(worker.Run))];
        long started = Stopwatch.GetTimestamp();
        Array.ForEach(threads, static thread => thread.Start());
        Array.ForEach(threads, static thread => thread.Join());
        double seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        if (workers.Select(static worker => worker.Failure).OfType<Exception>().FirstOrDefault() is { } failure)
            throw new IOException(failure.Message, failure);

        long transfers = workers.Sum(static worker => worker.Transfers), allocated = workers.Sum(static worker => worker.Allocated);
        long[] latencies = [.. workers.SelectMany(static worker => worker.Latencies).Order()];
        string At(double part) => latencies.Length == 0 ? "-" : (latencies[(int)(part * (latencies.Length - 1))] * 1e6 / Stopwatch.Frequency).ToString("0.0", CultureInfo.InvariantCulture);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"transfers/s  {transfers / seconds:0}"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"MiB/s        {transfers * (double)options.Size / (1 << 20) / seconds:0.0}"));
        Console.WriteLine($"latency/us   50% {At(.5)}  99% {At(.99)}  100% {At(1)}");
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"allocated    {(transfers == 0 ? 0 : (double)allocated / transfers):0.00} B a transfer, on the threads that start them"));
        if (device.UsesShadowDoorbells)
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"doorbells    {device.DoorbellsSaved} register writes saved"));
        return 0;
    }

    private sealed class Worker(NvmeDevice device, NvmeQueue queue, BenchOptions options, int seed)
    {
        private const int Samples = 1 << 16;
        private readonly Mapping _memory = device.AllocateMemory((ulong)options.Size * (ulong)options.Depth);
        private readonly ValueTask[] _tasks = new ValueTask[options.Depth];
        private readonly long[] _started = new long[options.Depth];
        private readonly Random _random = new(seed);
        private readonly int _blocks = options.Size / device.BlockSize;
        private ulong _next;

        public List<long> Latencies { get; } = new(Samples);

        public long Transfers { get; private set; }

        public long Allocated { get; private set; }

        public Exception? Failure { get; private set; }

        public void Run()
        {
            try
            {
                for (int i = 0; i < _tasks.Length; i++)
                    Start(i);
                long end = Stopwatch.GetTimestamp() + (long)(options.Seconds * Stopwatch.Frequency), warm = GC.GetAllocatedBytesForCurrentThread();
                while (Stopwatch.GetTimestamp() < end)
                    Round(again: true);
                Allocated = GC.GetAllocatedBytesForCurrentThread() - warm;
                while (Array.Exists(_tasks, static task => task != default))
                    Round(again: false);
            }
            catch (Exception failure) when (failure is IOException or IommuFdException or ObjectDisposedException)
            {
                Failure = failure;
            }
        }

        private void Start(int i)
        {
            ulong room = (device.Blocks / (ulong)_blocks) - 1;
            ulong block = (options.Sequential ? _next++ % (room + 1) : (ulong)_random.NextInt64((long)room + 1)) * (ulong)_blocks;
            _started[i] = Stopwatch.GetTimestamp();
            ulong offset = (ulong)i * (ulong)options.Size;
#pragma warning disable CA2012 // each task is kept here and consumed once, in Round
            _tasks[i] = options.Write ? queue.WriteAsync(block, _memory, offset, options.Size) : queue.ReadAsync(block, _memory, offset, options.Size);
#pragma warning restore CA2012
        }

        private void Round(bool again)
        {
            if (!options.Interrupts)
                _ = queue.Poll();
            bool any = false;
            for (int i = 0; i < _tasks.Length; i++)
            {
                if (_tasks[i] == default || !_tasks[i].IsCompleted)
                    continue;
                _tasks[i].GetAwaiter().GetResult();
                _tasks[i] = default;
                any = true;
                Transfers++;
                if (Latencies.Count < Samples)
                    Latencies.Add(Stopwatch.GetTimestamp() - _started[i]);
                if (again)
                    Start(i);
            }

            if (!any && options.Interrupts)
                _ = Thread.Yield();
        }
    }
}
