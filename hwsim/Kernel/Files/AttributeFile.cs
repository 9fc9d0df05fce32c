using System.Text;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>An open file of sysfs or procfs.</summary>
internal sealed unsafe class AttributeFile(AttributeNode node) : SimulatedFile
{
    private byte[]? _content;
    private long _position;

    /// <summary>open(2) with kernfs's rule: the permission bits hold for everybody.</summary>
    public static int Open(AttributeNode node, int flags, out SimulatedFile? file)
    {
        file = null;
        int access = flags & Libc.O_ACCMODE;
        if ((access != Libc.O_WRONLY && (node.Mode & 0x124) == 0) || (access != Libc.O_RDONLY && (node.Mode & 0x92) == 0))
        {
            return -Errno.EACCES;
        }

        file = new AttributeFile(node);
        return 0;
    }

    /// <inheritdoc/>
    public override nint Read(ulong buffer, nuint count, IUserMemory user)
    {
        nint result = Pread(buffer, count, _position, user);
        _position += Math.Max(0, result);
        return result;
    }

    /// <inheritdoc/>
    public override nint Pread(ulong buffer, nuint count, long offset, IUserMemory user)
    {
        if (node.Show is null)
        {
            return node.ShowError;
        }

        if (offset == 0 || _content is null)
        {
            _content = node.Show();
        }

        if (offset >= _content.Length)
        {
            return 0;
        }

        nint length = (nint)Math.Min(count, (nuint)(_content.Length - offset));
        fixed (byte* content = _content)
        {
            // SAFETY: offset + length lie inside the content.
            int error = user.CopyTo(buffer, content + offset, (nuint)length);
            return error < 0 ? error : length;
        }
    }

    /// <inheritdoc/>
    public override nint Write(ulong buffer, nuint count, IUserMemory user)
    {
        if (node.Store is null)
        {
            return -Errno.EIO;
        }

        int length = (int)Math.Min(count, 4096);
        byte[] text = new byte[length];
        fixed (byte* pointer = text)
        {
            // SAFETY: the array is as long as what is copied.
            int error = user.CopyFrom(buffer, pointer, (nuint)length);
            if (error < 0)
            {
                return error;
            }
        }

        int result = node.Store(Encoding.UTF8.GetString(text));
        return result < 0 ? result : length;
    }
}
