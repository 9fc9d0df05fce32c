using System.Diagnostics;
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
        var kernel = new LinuxKernel();
        var fd = kernel.MemFdCreate("benchmark", 0);
        if (fd < 0)
            throw new InvalidOperationException($"memfd_create returned {fd}");
        _file = new MemFdHandle(kernel, fd);
    }

    public IEnumerable<Case> All()
    {
        yield return new Case("ioctl through a safe handle", "ioctl", "ns", 1.15, () => Each(20_000, Ioctl));
        yield return new Case("IOAS_MAP of 256 x 4 KiB, simulated", null, "ns", 1000, Maps);
        yield return new Case("bytes allocated by an ioctl", null, "B", 0, () => Bytes(Ioctl));
        yield return new Case("bytes allocated by map and unmap", null, "B", 0, () => Bytes(MapAndUnmap));
    }

    public void Dispose()
    {
        _file.Dispose();
        _attachment.Dispose();
        _space.Dispose();
        _device.Dispose();
        _context.Dispose();
        _memory.Dispose();
        _host.Dispose();
        _machine.Dispose();
    }

    private void Ioctl()
    {
        var size = 0;
        if (_file.Ioctl(FIONREAD, ref size) != 0)
            throw new InvalidOperationException("FIONREAD failed");
    }

    private void MapAndUnmap() => _ = _ioas.Unmap(_ioas.Map(_buffer, Area, DmaAccess.ReadWrite), Area);

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

    private static double Each(int n, Action work)
    {
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < n; i++)
            work();
        return (Stopwatch.GetTimestamp() - start) * (1e9 / Stopwatch.Frequency) / n;
    }

    private static double Bytes(Action work)
    {
        const int n = 1000;
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < n; i++)
            work();
        return (double)(GC.GetAllocatedBytesForCurrentThread() - before) / n;
    }
}
