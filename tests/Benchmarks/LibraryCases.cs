using System.Diagnostics;
using System.Globalization;
using IommuFd;
using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace Benchmarks;

/// <summary>What the library adds: an ioctl of the real kernel through a safe handle, and commands of the simulated one from end to end.</summary>
// SAFETY: every address given to a call is of memory that lives as long as these cases.
internal sealed unsafe class LibraryCases : IDisposable
{
    private const uint FIONREAD = 0x541b;
    private const ulong Area = 256 * 4096;
    private readonly SimulatedHost _machine = new(Topology.ByName("intel"));
    private readonly IommuHost _host;
    private readonly IommuContext _context;
    private readonly IoAddressSpace _space;
    private readonly BoundDevice _device;
    private readonly Attachment _attachment;
    private readonly Ioas _ioas;
    private readonly DmaBuffer _memory;
    private readonly nint _buffer;
    private readonly MemFdHandle _file;
    private readonly Mapping _mapped;
    private readonly Bar _registers;
    private readonly InterruptSet _interrupts;

    public LibraryCases()
    {
        _host = IommuHost.Over(_machine);
        _memory = _host.AllocateBuffer(Area);
        _memory.Span.Fill(1);
        _buffer = _memory.Address;
        _context = _host.OpenContext();
        // With a device attached a map writes page tables; without one it is only noted.
        var address = PciAddress.Parse("0000:00:04.0");
        var binder = new DriverBinder(_machine.Sysfs, new MemoryBindingStore());
        if (binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci)) is { } refused)
            throw new InvalidOperationException($"edu was not bound: {refused}");
        _device = _host.OpenDevice(address).Bind(_context, cookie: 1);
        _space = _context.CreateAddressSpace();
        _attachment = _device.Attach(_space);
        _ioas = _space.Ioas;
        _mapped = _space.Map(_memory, DmaAccess.ReadWrite);
        using (var config = _device.OpenConfigSpace())
            config.EnableBusMaster();
        _registers = _device.OpenBar(0);
        _interrupts = _device.EnableInterrupts(InterruptKind.Msi);
        var kernel = new LinuxKernel();
        var fd = kernel.MemFdCreate("benchmark", 0);
        if (fd < 0)
            throw new InvalidOperationException($"memfd_create returned {fd}");
        _file = new MemFdHandle(kernel, fd);
    }

    private static double SoakSeconds { get; } =
        double.TryParse(Environment.GetEnvironmentVariable("BENCH_SOAK"), CultureInfo.InvariantCulture, out var wanted) ? wanted : 0.2;

    public static IEnumerable<Case> All(Func<LibraryCases> cases)
    {
        yield return new Case(1, "ioctl through a safe handle", "ioctl", "ns", 1.15, () => { var c = cases(); return () => Each(20_000, c.Ioctl); });
        yield return Case.Absolute(2, "bytes allocated by an ioctl", "B", 0, () => { var c = cases(); return () => Bytes(c.Ioctl); }) with { Times = (1, 3) };
        yield return Case.Absolute(2, "bytes allocated by map and unmap", "B", 0, () => { var c = cases(); return () => Bytes(c.MapAndUnmap); }) with { Times = (1, 3) };
        yield return Case.Absolute(2, "bytes allocated by a register access", "B", 0, () => { var c = cases(); return () => Bytes(c.Register); }) with { Times = (1, 3) };
        yield return Case.Absolute(2, "bytes allocated by DMA and an interrupt wait", "B", 0, () => { var c = cases(); return () => Bytes(c.DmaAndInterrupt); }) with { Times = (1, 3) };
        yield return Case.Absolute(2, "bytes allocated by a context-cache miss", "B", 0, () => { var c = new ContextCases(); return () => Bytes(c.Miss); }) with { Times = (1, 3) };
        yield return Case.Absolute(2, string.Create(CultureInfo.InvariantCulture, $"collections in a soak of these, {SoakSeconds} s of each"), "", 0, () => { var c = cases(); return c.Collections; })
            with { Times = (1, 1) };
        yield return Case.Absolute(3, "IOAS_MAP of 256 x 4 KiB, simulated", "ns", 1000, () => cases().Maps);
    }

    public void Dispose()
    {
        _file.Dispose();
        _interrupts.Dispose();
        _registers.Dispose();
        _mapped.Dispose();
        _attachment.Dispose();
        _space.Dispose();
        _device.Dispose();
        _context.Dispose();
        _memory.Dispose();
        _host.Dispose();
        _machine.Dispose();
    }

    internal void Ioctl()
    {
        var size = 0;
        if (_file.Ioctl(FIONREAD, ref size) != 0)
            throw new InvalidOperationException("FIONREAD failed");
    }

    internal void MapAndUnmap() => _ = _ioas.Unmap(_ioas.Map(_buffer, Area, DmaAccess.ReadWrite), Area);

    private double Collections()
    {
        Action[] all = [Ioctl, MapAndUnmap, Register, DmaAndInterrupt];
        GC.Collect();
        var before = GC.CollectionCount(0);
        foreach (var work in all)
        {
            for (var start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < SoakSeconds;)
                work();
        }

        return GC.CollectionCount(0) - before;
    }

    // Liveness: the device inverts what is written.
    internal void Register()
    {
        _registers.Write32(4, 1);
        if (_registers.Read32(4) != ~1u)
            throw new InvalidOperationException("edu does not answer");
    }

    // edu reads 64 bytes into its buffer and sends an interrupt.
    internal void DmaAndInterrupt()
    {
        _registers.Write64(0x80, _mapped.Iova);
        _registers.Write64(0x88, 0x40000);
        _registers.Write64(0x90, 64);
        _registers.Write64(0x98, 1 | 4);
        _ = _interrupts[0].Wait(TimeSpan.FromSeconds(5));
        _registers.Write32(0x64, _registers.Read32(0x24));
    }

    // Only the maps are timed; every area is gone again before the next.
    private double Maps()
    {
        const int n = 200;
        long ticks = 0;
        for (var i = 0; i < n; i++)
        {
            var start = Stopwatch.GetTimestamp();
            var iova = _ioas.Map(_buffer, Area, DmaAccess.ReadWrite);
            ticks += Stopwatch.GetTimestamp() - start;
            _ = _ioas.Unmap(iova, Area);
        }

        return ticks * (1e9 / Stopwatch.Frequency) / n;
    }

    internal static double Each(int n, Action work)
    {
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < n; i++)
            work();
        return (Stopwatch.GetTimestamp() - start) * (1e9 / Stopwatch.Frequency) / n;
    }

    internal static double Bytes(Action work)
    {
        const int n = 1000;
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < n; i++)
            work();
        return (double)(GC.GetAllocatedBytesForCurrentThread() - before) / n;
    }
}
