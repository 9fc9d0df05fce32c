using System.Diagnostics;
using IommuFd;

namespace Benchmarks;

/// <summary>On the real kernel: what the library adds to map and unmap. C does the same on another device.</summary>
/// <param name="node">The character device of a function.</param>
internal sealed class KernelCases(string node) : IDisposable
{
    private readonly IommuHost _host = IommuHost.Open();
    private IommuContext? _context;
    private BoundDevice? _device;
    private IoAddressSpace? _space;
    private Attachment? _attachment;
    private DmaBuffer? _buffer;


    /// <summary>Map and unmap in three sizes.</summary>
    /// <param name="note">What the names say of how it is measured.</param>
    public IEnumerable<Case> All(string note)
    {
        yield return new Case(14, $"real kernel: map and unmap 4 KiB, {note}", "map-4K", "ns", 1.1, () => () => Maps(4096, 300)) { Times = (9, 8) };
        yield return new Case(14, $"real kernel: map and unmap 2 MiB, {note}", "map-2M", "ns", 1.1, () => () => Maps(2 << 20, 10)) { Times = (5, 4) };
        yield return new Case(14, $"real kernel: map and unmap 1 GiB, {note}", "map-1G", "ns", 1.1, () => () => Maps(1 << 30, 1)) { Times = (3, 2) };
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
        _device = _host.OpenDevice(node).Bind(_context, cookie: 1);
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
}
