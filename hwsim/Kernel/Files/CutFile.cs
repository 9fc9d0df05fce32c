using System.Globalization;
using System.Runtime.InteropServices;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// ftruncate(2) of a file whose pages a device has: on Linux they leave the file and stay with the device. Here the mapping that the simulated kernel
/// has of them becomes one of private copies.
/// </summary>
/// <remarks>Does not model: a file that is cut behind the seam's back, or by another process, while it is pinned.</remarks>
internal static unsafe class CutFile
{
    /// <summary>Cuts or extends a file.</summary>
    /// <param name="real">The real kernel.</param>
    /// <param name="memory">Knows what is pinned.</param>
    /// <param name="descriptor">The file.</param>
    /// <param name="length">Its new length.</param>
    public static int Truncate(LinuxKernel real, PhysicalMemory memory, int descriptor, long length)
    {
        List<(nint Address, byte[] Data)> kept = length < 0 ? [] : PinnedBeyond(memory, descriptor, (ulong)length);
        int result = real.Ftruncate(descriptor, length);
        foreach ((nint address, byte[] data) in result < 0 ? [] : kept)
        {
            // SAFETY: the simulated kernel's own mapping, of which only devices know the address.
            _ = Libc.Mmap(address, (nuint)data.Length, Libc.PROT_READ | Libc.PROT_WRITE,
                Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_FIXED, -1, 0);
            Marshal.Copy(data, 0, address, data.Length);
        }

        return result;
    }

    private static List<(nint Address, byte[] Data)> PinnedBeyond(PhysicalMemory memory, int descriptor, ulong length)
    {
        const int page = (int)PhysicalMemory.PageSize;
        List<(nint, byte[])> pages = [];
        if (InodeOf(descriptor) is not string inode)
        {
            return pages;
        }

        // address-address permissions offset device inode name
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] fields = line.Split(' ', 6, StringSplitOptions.RemoveEmptyEntries);
            if (fields[4] != inode)
            {
                continue;
            }

            string[] ends = fields[0].Split('-');
            ulong first = Hex(ends[0]), end = Hex(ends[1]), offset = Hex(fields[2]);
            for (ulong at = first; at < end; at += page)
            {
                // SAFETY: the file still has the page; it is mapped here.
                if (offset + (at - first) >= length && memory.PinCount((void*)at) != 0)
                {
                    byte[] data = new byte[page];
                    Marshal.Copy((nint)at, data, 0, page);
                    pages.Add(((nint)at, data));
                }
            }
        }

        return pages;
    }

    private static string? InodeOf(int descriptor)
    {
        try
        {
            return File.ReadLines($"/proc/self/fdinfo/{descriptor}")
                .FirstOrDefault(static line => line.StartsWith("ino:", StringComparison.Ordinal))?[4..].Trim();
        }
        catch (IOException)
        {
            // Not open: ftruncate says so.
            return null;
        }
    }

    private static ulong Hex(string text) => ulong.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
