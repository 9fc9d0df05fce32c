using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// Pages of a memfd (IOMMU_IOAS_MAP_FILE): the part of the file that is used is mapped here, so that it stays when user space closes and unmaps it.
/// </summary>
internal sealed unsafe class FilePages : IPageSource
{
    private const long TmpfsMagic = 0x01021994, HugetlbfsMagic = 0x958458f6;

    private readonly SimulatedProcess _mapper;
    private readonly nint _mapping;
    private readonly ulong _start;
    private readonly ulong _length;

    private FilePages(SimulatedProcess process, nint mapping, ulong start, ulong length)
    {
        Process = process;
        _mapper = process;
        _mapping = mapping;
        _start = start;
        _length = length;
    }

    /// <summary>Who pays; IOMMU_IOAS_CHANGE_PROCESS changes it.</summary>
    public SimulatedProcess Process { get; internal set; }

    /// <summary>Maps pages of a file.</summary>
    /// <param name="process">The caller.</param>
    /// <param name="descriptor">The file.</param>
    /// <param name="start">Offset, a multiple of the page size.</param>
    /// <param name="length">Bytes, a multiple of the page size.</param>
    /// <param name="pages">The pages. Whether they exist is known when they are pinned.</param>
    /// <returns>0, -EBADF for a closed descriptor.</returns>
    internal static int Open(SimulatedProcess process, int descriptor, ulong start, ulong length, out FilePages? pages)
    {
        pages = null;
        var copy = process.DuplicateDescriptor(descriptor);
        if (copy < 0)
        {
            return -Errno.EBADF;
        }

        // A file that cannot be mapped, or is no memory file, is found out when its pages are wanted.
        var mapping = IsMemoryFile(copy) ? process.MapFile(copy, start, length) : 0;
        _ = Libc.Close(copy);
        pages = new FilePages(process, mapping, start, length);
        return 0;
    }

    /// <summary>Pages of a file that is no memory file: there are none to pin.</summary>
    internal static FilePages None(SimulatedProcess process) => new(process, 0, 0, 0);

    /// <inheritdoc/>
    public int Pin(ulong address, ulong length, bool writable)
    {
        if (_mapping == 0)
        {
            return -Errno.EINVAL;
        }

        var here = _mapping + (nint)(address - _start);

        // Pages of a memory file that were never written come into being; beyond its end there are none.
        return _mapper.PopulateFile(here, length) ? 0 : -Errno.EINVAL;
    }

    /// <inheritdoc/>
    public void Unpin(ulong address, ulong length)
    {
    }

    /// <inheritdoc/>
    public nint HostAddress(ulong address, ref ulong length) => _mapping + (nint)(address - _start);

    internal void Close()
    {
        if (_mapping != 0)
        {
            _mapper.UnmapFile(_mapping, _length);
        }
    }

    private static bool IsMemoryFile(int descriptor)
    {
        // struct statfs is 120 bytes on 64-bit Linux and begins with the type.
        var buffer = stackalloc long[32];
        return Libc.Fstatfs(descriptor, buffer) == 0 && buffer[0] is (TmpfsMagic or HugetlbfsMagic);
    }
}
