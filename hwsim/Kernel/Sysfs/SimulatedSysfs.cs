using System.Text;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>The simulated machine's files behind the seam: reading shows, writing does.</summary>
/// <remarks>
/// Not modelled: ownership is always root's and every write is root's (kernfs checks the permission bits even for root, and so does this); files of
/// /proc that belong to the calling process come from the real process.
/// </remarks>
internal sealed class SimulatedSysfs(FileTree tree) : ISysfs
{
    private const int PageSize = 4096;
    private readonly LinuxSysfs _real = new();

    /// <inheritdoc/>
    public int ReadText(string path, out string text)
    {
        int result = ReadBytes(path, out byte[] bytes);
        text = result < 0 ? "" : Encoding.UTF8.GetString(bytes);
        return result;
    }

    /// <inheritdoc/>
    public int ReadBytes(string path, out byte[] bytes)
    {
        bytes = [];
        int error = tree.Find(path, true, out FileNode? node);
        if (error < 0)
        {
            return IsReal(path) ? _real.ReadBytes(path, out bytes) : error;
        }

        if (node is not AttributeNode attribute)
        {
            return node is DirectoryNode ? -Errno.EISDIR : -Errno.EINVAL;
        }

        if ((attribute.Mode & 0x124) == 0)
        {
            return -Errno.EACCES;
        }

        if (attribute.Show is null)
        {
            return attribute.ShowError;
        }

        bytes = attribute.Show();
        return bytes.Length;
    }

    /// <inheritdoc/>
    public int WriteText(string path, string text)
    {
        if (text.Length == 0)
        {
            return -Errno.EINVAL;
        }

        int error = tree.Find(path, true, out FileNode? node);
        if (error < 0)
        {
            return error;
        }

        if (node is not AttributeNode attribute)
        {
            return node is DirectoryNode ? -Errno.EISDIR : -Errno.EINVAL;
        }

        if ((attribute.Mode & 0x92) == 0)
        {
            return -Errno.EACCES;
        }

        if (attribute.Store is null)
        {
            return -Errno.EIO;
        }

        // kernfs hands a store function one page at most; a longer write(2) is a short one.
        bool whole = Encoding.UTF8.GetByteCount(text) <= PageSize;
        error = attribute.Store(whole ? text : text[..Math.Min(text.Length, PageSize)]);
        return error < 0 ? error : whole ? 0 : -Errno.EIO;
    }

    /// <inheritdoc/>
    public int ReadLink(string path, out string target)
    {
        target = "";
        int error = tree.Find(path, false, out FileNode? node);
        if (error < 0)
        {
            return IsReal(path) ? _real.ReadLink(path, out target) : error;
        }

        if (node is not LinkNode link)
        {
            return -Errno.EINVAL;
        }

        target = link.Target;
        return target.Length;
    }

    /// <inheritdoc/>
    public int List(string path, out string[] names)
    {
        names = [];
        int error = tree.Find(path, true, out FileNode? node);
        if (error < 0)
        {
            return IsReal(path) ? _real.List(path, out names) : error;
        }

        if (node is not DirectoryNode directory)
        {
            return -Errno.ENOTDIR;
        }

        names = tree.List(directory);
        return names.Length;
    }

    /// <inheritdoc/>
    public int Status(string path, out PathStatus status)
    {
        status = default;
        int error = tree.Find(path, true, out FileNode? node);
        if (error < 0)
        {
            return IsReal(path) ? _real.Status(path, out status) : error;
        }

        ulong device = node is DeviceNode character
            ? ((ulong)character.Major << 8) | (character.Minor & 0xff) | ((ulong)(character.Minor & ~0xffu) << 12)
            : 0;
        status = new PathStatus(node!.Kind, node.Mode, node.UserId, node.GroupId, device);
        return 0;
    }

    // The calling process is a real one: what /proc says about it (and only that) is true on the simulated machine too.
    private static bool IsReal(string path) => path.StartsWith("/proc/self/", StringComparison.Ordinal)
        || path.StartsWith($"/proc/{Environment.ProcessId}/", StringComparison.Ordinal);
}
