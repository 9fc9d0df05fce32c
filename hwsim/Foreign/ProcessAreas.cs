using System.Globalization;
using System.Runtime.InteropServices;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>The memory areas of a process: /proc/PID/maps, asked by PROCMAP_QUERY (Linux 6.11) where that is known, else read.</summary>
internal sealed unsafe class ProcessAreas(int process) : IDisposable
{
    private const uint PROCMAP_QUERY = 0xc0686611;
    private int _maps = -1;
    private bool _mustRead;

    /// <summary>One area.</summary>
    /// <param name="Start">First address.</param>
    /// <param name="End">Address after the last one.</param>
    /// <param name="Offset">Where the area begins in its file, in bytes.</param>
    /// <param name="Device">The file's device, major &lt;&lt; 32 | minor.</param>
    /// <param name="Inode">The file's inode; 0 without a file.</param>
    /// <param name="Flags">1 readable, 2 writable, 4 executable, 8 shared.</param>
    internal readonly record struct Area(ulong Start, ulong End, ulong Offset, ulong Device, ulong Inode, uint Flags)
    {
        public bool IsReadable => (Flags & 1) != 0;

        public bool IsWritable => (Flags & 2) != 0;

        public bool IsShared => (Flags & 8) != 0 && Inode != 0;
    }

    /// <summary>The area that an address lies in.</summary>
    public bool Find(ulong address, out Area area)
    {
        area = default;
        if (_mustRead)
        {
            return Read(address, out area);
        }

        if (_maps < 0)
        {
            _maps = Libc.Open($"/proc/{process}/maps", Libc.O_RDONLY | Libc.O_CLOEXEC, 0);
        }

        // struct procmap_query (linux/fs.h), 104 bytes: size, query_flags, query_addr; vma_start, vma_end, vma_flags, vma_page_size, vma_offset,
        // inode, dev_major, dev_minor; names.
        var query = stackalloc ulong[13];
        new Span<ulong>(query, 13).Clear();
        query[0] = 104;
        query[2] = address;
        if (Libc.Ioctl(_maps, PROCMAP_QUERY, (nint)query) == 0)
        {
            area = new Area(query[3], query[4], query[7], (query[9] << 32) | (query[9] >> 32), query[8], (uint)query[5]);
            return true;
        }

        _mustRead = Marshal.GetLastPInvokeError() == Errno.ENOTTY;
        return _mustRead && Read(address, out area);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        var open = Interlocked.Exchange(ref _maps, -1);
        if (open >= 0)
        {
            _ = Libc.Close(open);
        }
    }

    private bool Read(ulong address, out Area area)
    {
        area = default;
        try
        {
            // start-end rwxs offset major:minor inode name
            foreach (var line in File.ReadLines($"/proc/{process}/maps"))
            {
                var words = line.Split([' ', '-', ':'], 8);
                if (Hex(words[1]) > address)
                {
                    var start = Hex(words[0]);
                    var flags = (words[2][0] == 'r' ? 1u : 0) | (words[2][1] == 'w' ? 2u : 0) | (words[2][2] == 'x' ? 4u : 0)
                        | (words[2][3] == 's' ? 8u : 0);
                    var inode = ulong.Parse(words[6].Split(' ')[0], CultureInfo.InvariantCulture);
                    area = new Area(start, Hex(words[1]), Hex(words[3]), (Hex(words[4]) << 32) | Hex(words[5]), inode, flags);
                    return start <= address;
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It has ended.
        }

        return false;
    }

    private static ulong Hex(string text) => ulong.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
