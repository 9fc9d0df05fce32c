using System.Text;

namespace IommuFd.Native;

/// <summary>The files of a <see cref="CapturedHost"/>.</summary>
internal sealed class CapturedSysfs(CaptureTree tree) : ISysfs
{
    public int ReadText(string path, out string text)
    {
        int result = ReadBytes(path, out byte[] bytes);
        text = Encoding.UTF8.GetString(bytes);
        return result;
    }

    public int ReadBytes(string path, out byte[] bytes)
    {
        bytes = [];
        int result = tree.Find(path, followLast: true, out CaptureTree.Node? node, out _);
        if (result < 0)
        {
            return result;
        }

        if (node!.Content is null)
        {
            return node.Kind == PathKind.Directory ? -Errno.EISDIR : -Errno.EROFS;
        }

        try
        {
            bytes = node.Content();
            return bytes.Length;
        }
        catch (UnauthorizedAccessException)
        {
            return -Errno.EACCES;
        }
        catch (IOException)
        {
            return -Errno.EIO;
        }
    }

    public int WriteText(string path, string text) => -Errno.EROFS;

    public int ReadLink(string path, out string target)
    {
        target = "";
        int result = tree.Find(path, followLast: false, out CaptureTree.Node? node, out _);
        if (result < 0)
        {
            return result;
        }

        target = node!.Target ?? "";
        return node.Target is null ? -Errno.EINVAL : target.Length;
    }

    public int List(string path, out string[] names)
    {
        names = [];
        int result = tree.Find(path, followLast: true, out CaptureTree.Node? node, out string real);
        if (result < 0)
        {
            return result;
        }

        if (node!.Kind != PathKind.Directory)
        {
            return -Errno.ENOTDIR;
        }

        names = tree.Children(real);
        return names.Length;
    }

    public int Status(string path, out PathStatus status)
    {
        int result = tree.Find(path, followLast: true, out CaptureTree.Node? node, out _);
        status = result < 0 ? default : new PathStatus(node!.Kind, node.Mode & 0xfff, 0, 0, node.Device);
        return result;
    }
}
