using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// Memory files (memfd, shared anonymous memory, hugetlbfs) whose pages programs have pinned. A page is named by its file and offset, so that it is
/// one page under whatever address, in whatever process, and it outlives its processes.
/// </summary>
/// <remarks>
/// Two files are reached: those that a program hands in by descriptor, and, with CAP_CHECKPOINT_RESTORE, those that it has mapped; without the
/// capability a mapped file is treated as memory of its process.
/// </remarks>
// SAFETY (whole class): the mappings here are touched only by process_vm_readv and process_vm_writev on this very process, which answer EFAULT where
// a program truncated its file and an access would kill.
internal sealed unsafe class SharedFiles : IDisposable
{
    private const int MostFiles = 0x3fff;
    private const ulong Granule = 1UL << 30;
    private const ulong FileToken = (1UL << 63) | (1UL << 62);

    private readonly Lock _gate = new();
    private readonly Dictionary<(ulong Device, ulong Inode), int> _numbers = [];
    private readonly List<Mapped> _files = [];
    private readonly Stack<int> _free = new();

    private readonly record struct Mapped(nint Address, ulong Length, (ulong Device, ulong Inode) Key, int Users);

    /// <summary>True for a token of a shared file.</summary>
    public static bool Owns(nint token) => ((ulong)token & FileToken) == FileToken;

    /// <summary>The token of a file's first byte, by an area of a process that maps it; 0 when it cannot be reached.</summary>
    public ulong TokenOf(int process, in ProcessAreas.Area area)
    {
        lock (_gate)
        {
            if (!_numbers.TryGetValue((area.Device, area.Inode), out var number) || _files[number].Length < area.Offset + (area.End - area.Start))
            {
                var descriptor = Libc.Open($"/proc/{process}/map_files/{area.Start:x}-{area.End:x}", Libc.O_RDWR | Libc.O_CLOEXEC, 0);
                if (descriptor < 0)
                {
                    return 0;
                }

                number = Map(descriptor, (area.Device, area.Inode), area.Offset + (area.End - area.Start));
                _ = Libc.Close(descriptor);
            }

            return number < 0 ? 0 : Token(number);
        }
    }

    /// <summary>The token of a file's first byte, by a descriptor of ours; 0 when it cannot be mapped.</summary>
    public ulong TokenOf(int descriptor, ulong end)
    {
        var status = default(Libc.StatxBuffer);
        if (Libc.Statx(descriptor, "", Libc.AT_EMPTY_PATH, 0x100, &status) < 0)
        {
            return 0;
        }

        var key = ((status.FileSystem << 32) | (status.FileSystem >> 32), status.Inode);
        lock (_gate)
        {
            if (!_numbers.TryGetValue(key, out var number) || _files[number].Length < end)
            {
                number = Map(descriptor, key, end);
            }

            return number < 0 ? 0 : Token(number);
        }
    }

    /// <summary>Takes a reference to the file of a token, which every token that is kept needs.</summary>
    public void Get(ulong token) => Count((nint)token, 1);

    /// <summary>Gives a reference back; the last one unmaps the file, so that its pages can be freed.</summary>
    public void Put(ulong token) => Count((nint)token, -1);

    private void Count(nint token, int change)
    {
        lock (_gate)
        {
            var number = NumberOf(token);
            var file = _files[number];
            _files[number] = file with { Users = file.Users + change };
            if (_files[number].Users == 0)
            {
                _ = Libc.Munmap(file.Address, (nuint)file.Length);
                _numbers.Remove(file.Key);
                _files[number] = default;
                _free.Push(number);
            }
        }
    }

    private static int NumberOf(nint token) => (int)((ulong)token >> ForeignMemory.AddressBits) & MostFiles;

    /// <summary>Makes pages present; false beyond the file's end.</summary>
    public bool Populate(nint token, ulong length) => Libc.Madvise(AddressOf(token), (nuint)length, Libc.MADV_POPULATE_WRITE) == 0;

    /// <summary>Copies from a file's pages.</summary>
    public bool Read(nint token, void* destination, ulong length) => Copy(Libc.SYS_process_vm_readv, token, destination, length);

    /// <summary>Copies to a file's pages.</summary>
    public bool Write(nint token, void* source, ulong length) => Copy(Libc.SYS_process_vm_writev, token, source, length);

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            foreach (var file in _files.Where(static file => file.Address != 0))
            {
                _ = Libc.Munmap(file.Address, (nuint)file.Length);
            }

            _files.Clear();
            _numbers.Clear();
        }
    }

    private static ulong Token(int number) => FileToken | ((ulong)number << ForeignMemory.AddressBits);

    private int Map(int descriptor, (ulong Device, ulong Inode) key, ulong end)
    {
        var length = (end + Granule - 1) & ~(Granule - 1);
        var address = Libc.Mmap(0, (nuint)length, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED | Libc.MAP_NORESERVE, descriptor, 0);
        if (address == -1 || _files.Count > MostFiles)
        {
            return -1;
        }

        // A file that grew keeps its number, so its pages keep their names; what is in use at the smaller mapping is found at the larger one.
        if (_numbers.TryGetValue(key, out var number))
        {
            _ = Libc.Munmap(_files[number].Address, (nuint)_files[number].Length);
            _files[number] = new Mapped(address, length, key, _files[number].Users);
            return number;
        }

        if (!_free.TryPop(out number))
        {
            number = _files.Count;
            _files.Add(default);
        }

        _files[number] = new Mapped(address, length, key, 0);
        return _numbers[key] = number;
    }

    private nint AddressOf(nint token)
    {
        lock (_gate)
        {
            var number = NumberOf(token);
            var offset = ForeignMemory.AddressOf(token);
            return number < _files.Count && offset < _files[number].Length ? _files[number].Address + (nint)offset : 0;
        }
    }

    private bool Copy(nint call, nint token, void* local, ulong length)
    {
        var here = new Libc.IoVector { Base = local, Length = (nuint)length };
        var there = new Libc.IoVector { Base = (void*)AddressOf(token), Length = (nuint)length };
        return Libc.Syscall(call, Environment.ProcessId, (nint)(&here), 1, (nint)(&there), 1, 0) == (nint)length;
    }
}
