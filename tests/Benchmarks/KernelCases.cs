using System.Diagnostics;
using IommuFd;
using IommuFd.Sysfs;

namespace Benchmarks;

/// <summary>On the real kernel: what the library adds to map and unmap, and to flow 4.1 of the proposal from opening to closing. The device is bound to a VFIO driver.</summary>
internal sealed class KernelCases : IDisposable
{
    private readonly IommuHost _host = IommuHost.Open();
    private readonly string _node;
    private IommuContext? _context;
    private BoundDevice? _device;
    private IoAddressSpace? _space;
    private Attachment? _attachment;
    private DmaBuffer? _buffer;

    /// <summary>The character device of a function; C is given one too.</summary>
    public KernelCases(string address) => _node = new PciBus(_host.Sysfs).Find(PciAddress.Parse(address))?.DeviceNode ?? throw new InvalidOperationException($"{address} has no character device");

    public IEnumerable<Case> All()
    {
        yield return new Case(14, "real kernel: map and unmap 4 KiB", "map-4K", "ns", 1.1, () => () => Maps(4096, 300)) { Times = (9, 8) };
        yield return new Case(14, "real kernel: map and unmap 2 MiB", "map-2M", "ns", 1.1, () => () => Maps(2 << 20, 10)) { Times = (5, 4) };
        yield return new Case(14, "real kernel: map and unmap 1 GiB", "map-1G", "ns", 1.1, () => () => Maps(1 << 30, 1)) { Times = (3, 2) };
        yield return new Case(15, "real kernel: flow 4.1 from open to close, model of the proposal against bare ioctls", "flow-4.1", "ns", 1.1, () => Flow) { Times = (7, 6) };
    }

    public void Dispose()
    {
        Detach();
        _buffer?.Dispose();
        _host.Dispose();
    }

    private void Attach()
    {
        _context = _host.OpenContext();
        _device = _host.OpenDevice(_node).Bind(_context, cookie: 1);
        _space = _context.CreateAddressSpace();
        _attachment = _device.Attach(_space);
    }

    private void Detach()
    {
        _attachment?.Dispose();
        _space?.Dispose();
        _device?.Dispose();
        _context?.Dispose();
        (_context, _device, _space, _attachment) = (null, null, null, null);
    }

    private DmaBuffer Reserve(ulong bytes)
    {
        if (_buffer == null || _buffer.Length < bytes)
        {
            _buffer?.Dispose();
            _buffer = _host.AllocateBuffer(bytes, new DmaBufferOptions { PageSize = DmaBufferOptions.Page2M });
            for (ulong at = 0; at < bytes; at += 4096)
                _buffer.At<byte>(at) = 1;
        }

        return _buffer;
    }

    private double Maps(ulong bytes, int n)
    {
        var buffer = Reserve(bytes);
        if (_space == null)
            Attach();
        var ioas = _space!.Ioas;
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < n; i++)
            _ = ioas.Unmap(ioas.Map(buffer.Address, bytes, DmaAccess.ReadWrite), bytes);
        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / n;
    }

    private double Flow()
    {
        var buffer = Reserve(2 << 20);
        Detach();
        var start = Stopwatch.GetTimestamp();
        Attach();
        using (_space!.Map(buffer, 0, 2 << 20, DmaAccess.ReadWrite, null))
        {
        }

        Detach();
        return Stopwatch.GetElapsedTime(start).TotalNanoseconds;
    }
}
