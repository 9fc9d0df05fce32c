namespace IommuFd.Native;

/// <summary>What kind of thing a path names.</summary>
public enum PathKind
{
    /// <summary>A regular file or attribute.</summary>
    File,

    /// <summary>A directory.</summary>
    Directory,

    /// <summary>A symbolic link (reported only when the link itself is asked for).</summary>
    SymbolicLink,

    /// <summary>A character device.</summary>
    CharacterDevice,

    /// <summary>Anything else: block device, socket, pipe.</summary>
    Other,
}

/// <summary>Who may do what with a path.</summary>
/// <param name="Kind">What the path names, after links are followed.</param>
/// <param name="Mode">The permission bits (octal 07777).</param>
/// <param name="UserId">The owner.</param>
/// <param name="GroupId">The owning group.</param>
/// <param name="Device">The device number (major &lt;&lt; 8 | minor as st_rdev packs it) of a device node, else 0.</param>
public readonly record struct PathStatus(PathKind Kind, uint Mode, uint UserId, uint GroupId, ulong Device);

/// <summary>
/// The files through which Linux shows and configures devices: /sys, /proc, /dev and /etc. Paths are absolute and as on the machine.
/// Every method returns 0 or more, or <c>-errno</c>. On the simulator a write has its effect: binding a driver binds it.
/// </summary>
public interface ISysfs
{
    /// <summary>Reads a whole text attribute; trailing newlines stay. Returns its length in bytes.</summary>
    int ReadText(string path, out string text);

    /// <summary>Reads a whole binary attribute, such as a PCI function's <c>config</c>. Returns its length.</summary>
    int ReadBytes(string path, out byte[] bytes);

    /// <summary>
    /// Writes <paramref name="text"/> to an existing attribute in exactly one write(2). An empty text writes nothing and is -EINVAL: attributes are
    /// cleared with "\n". Returns 0.
    /// </summary>
    int WriteText(string path, string text);

    /// <summary>Reads a symbolic link.</summary>
    int ReadLink(string path, out string target);

    /// <summary>Names of a directory's entries in ordinal order, without "." and "..". Returns their number.</summary>
    int List(string path, out string[] names);

    /// <summary>stat(2): follows links.</summary>
    int Status(string path, out PathStatus status);
}
