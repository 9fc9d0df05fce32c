using IommuFd.Native;

namespace KernelTables;

/// <summary>
/// Memory of both kinds: huge pages in the first half where the kernel has them, small ones in the second; and where it lies physically.
/// </summary>
// SAFETY: the mapping is ours, touched inside its length only, and unmapped once.
internal sealed unsafe class UserBuffer : IDisposable
{
    private readonly LinuxKernel _kernel;
    private readonly nint _mapping;
    private readonly nuint _size;
    private readonly FileStream _pagemap = File.OpenRead("/proc/self/pagemap");

    internal UserBuffer(LinuxKernel kernel, int length)
    {
        const ulong huge = 2 << 20;
        _kernel = kernel;
        Length = (ulong)length;
        _size = (nuint)(Length + huge);
        _mapping = kernel.Mmap(0, _size, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        if (_mapping is < 0 and >= -4095)
            throw new InvalidOperationException("there is no memory for the buffer");
        Address = ((ulong)_mapping + huge - 1) & ~(huge - 1);
        _ = kernel.Madvise((nint)Address, (nuint)(length / 2), Libc.MADV_HUGEPAGE);
        for (ulong at = 0; at < Length; at += 4096)
            *(byte*)(Address + at) = 1;
    }

    internal ulong Address { get; }

    internal ulong Length { get; }

    /// <summary>Physically contiguous runs: first page frame and number of pages. The range is pinned.</summary>
    internal List<(ulong Pfn, ulong Pages)> Runs(ulong offset, ulong length)
    {
        List<(ulong Pfn, ulong Pages)> runs = [];
        var entries = new byte[length / 4096 * 8];
        _pagemap.Position = (long)((Address + offset) / 4096 * 8);
        _pagemap.ReadExactly(entries);
        for (var i = 0; i < entries.Length; i += 8)
        {
            var pfn = BitConverter.ToUInt64(entries, i) & ((1UL << 55) - 1);
            if (runs.Count > 0 && runs[^1].Pfn + runs[^1].Pages == pfn)
                runs[^1] = (runs[^1].Pfn, runs[^1].Pages + 1);
            else
                runs.Add((pfn, 1));
        }

        return runs;
    }

    public void Dispose()
    {
        _pagemap.Dispose();
        _ = _kernel.Munmap(_mapping, _size);
    }
}
