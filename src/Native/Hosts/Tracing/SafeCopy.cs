namespace IommuFd.Native;

/// <summary>
/// Copies memory that may not be there. The kernel does the reading: a pwrite(2) into a memfd ends at the first bad byte instead of ending the
/// process.
/// </summary>
internal sealed unsafe class SafeCopy : IDisposable
{
    private const int Capacity = 64 * 1024;
    private readonly LinuxKernel _kernel = new();
    private readonly Lock _gate = new();
    private readonly MemFdHandle? _file;

    internal SafeCopy()
    {
        int fd = _kernel.MemFdCreate("trace", Libc.MFD_CLOEXEC);
        _file = fd >= 0 ? new MemFdHandle(_kernel, fd) : null;
    }

    /// <summary>Up to <paramref name="length"/> bytes, fewer where memory ends.</summary>
    internal byte[] Read(nint address, ulong length)
    {
        if (_file is null || address == 0 || length == 0)
        {
            return [];
        }

        lock (_gate)
        {
            nint copied = _file.Pwrite(address, (nuint)Math.Min(length, Capacity), 0);
            byte[] bytes = new byte[Math.Max(0, copied)];
            fixed (byte* pointer = bytes)
            {
                // SAFETY: the buffer is as long as the number of bytes asked for.
                return bytes.Length == 0 || _file.Pread((nint)pointer, (nuint)bytes.Length, 0) == bytes.Length ? bytes : [];
            }
        }
    }

    public void Dispose() => _file?.Dispose();
}
