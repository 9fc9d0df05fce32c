using System.Text;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>One name in the simulated machine's file tree.</summary>
/// <param name="mode">Permission bits.</param>
internal abstract class FileNode(uint mode)
{
    /// <summary>Last component of the path; empty for the root.</summary>
    public string Name { get; internal set; } = "";

    /// <summary>The directory it is in; null for the root and for what was removed.</summary>
    public DirectoryNode? Parent { get; internal set; }

    /// <summary>Permission bits (octal 07777).</summary>
    public uint Mode { get; set; } = mode;

    /// <summary>The owner.</summary>
    public uint UserId { get; set; }

    /// <summary>The owning group.</summary>
    public uint GroupId { get; set; }

    /// <summary>What stat(2) says it is.</summary>
    public abstract PathKind Kind { get; }

    /// <summary>The absolute path.</summary>
    public string Path
    {
        get
        {
            if (Parent is null)
            {
                return Name.Length == 0 ? "/" : Name;
            }

            string parent = Parent.Path;
            return parent.Length == 1 ? parent + Name : parent + "/" + Name;
        }
    }
}

/// <summary>A directory.</summary>
internal sealed class DirectoryNode(uint mode = 0x1ed) : FileNode(mode)
{
    /// <summary>The entries. Touched under the tree's lock only.</summary>
    internal SortedDictionary<string, FileNode> Entries { get; } = new(StringComparer.Ordinal);

    public override PathKind Kind => PathKind.Directory;
}

/// <summary>A symbolic link.</summary>
internal sealed class LinkNode(string target) : FileNode(0x1ff)
{
    /// <summary>Where it leads, as readlink(2) shows it.</summary>
    public string Target { get; } = target;

    public override PathKind Kind => PathKind.SymbolicLink;
}

/// <summary>A file of sysfs or procfs: reading runs the kernel's show function, writing its store function.</summary>
internal sealed class AttributeNode(uint mode) : FileNode(mode)
{
    /// <summary>Content on reading, or null when reading ends in <see cref="ShowError"/>.</summary>
    public Func<byte[]>? Show { get; init; }

    /// <summary>-errno of a read without <see cref="Show"/>.</summary>
    public int ShowError { get; init; } = -Errno.EIO;

    /// <summary>Effect of one write(2): 0 or more, or -errno. Trailing newline included.</summary>
    public Func<string, int>? Store { get; init; }

    public override PathKind Kind => PathKind.File;

    /// <summary>A text attribute; absent functions take their permission bits away.</summary>
    public static AttributeNode Text(Func<string>? show, Func<string, int>? store = null, uint? mode = null) =>
        new(mode ?? ((show is null ? 0 : 0x124u) | (store is null ? 0 : 0x80u)))
    {
        Show = show is null ? null : () => Encoding.UTF8.GetBytes(show()),
        Store = store,
    };
}

/// <summary>A character device under /dev.</summary>
internal sealed class DeviceNode(uint mode, uint major, uint minor, DeviceNode.Opener open) : FileNode(mode)
{
    /// <summary>open(2) of the device: 0 and a file, or -errno.</summary>
    public delegate int Opener(int flags, out SimulatedFile? file);

    /// <summary>The driver's open.</summary>
    public Opener Open { get; } = open;

    /// <summary>Major number.</summary>
    public uint Major { get; } = major;

    /// <summary>Minor number.</summary>
    public uint Minor { get; } = minor;

    public override PathKind Kind => PathKind.CharacterDevice;
}
