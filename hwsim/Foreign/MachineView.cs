using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// The directory tree that programs see in place of /sys and /dev: directories, links and names of the simulated machine, with the host's own entries
/// between them. It is a tmpfs in the programs' mount namespace, so stat, readdir, readlink and chdir cost nothing; only open is looked at, and what
/// it opens comes from the machine, not from here.
/// </summary>
/// <remarks>
/// Not modelled: sizes and times of attributes; and, for a program that root does not run, stat(2) of a /dev node by its path, which shows a regular
/// file (fstat(2) of an open one is right).
/// </remarks>
internal sealed unsafe class MachineView
{
    private const uint S_IFCHR = 0x2000, AllPermissions = 0xfff;

    // Here the machine's entries stand beside the host's; every other directory of the machine is the machine's alone.
    private static readonly HashSet<string> s_shared = new(StringComparer.Ordinal)
    {
        "/", "/sys", "/sys/bus", "/sys/class", "/sys/devices", "/sys/devices/virtual", "/sys/kernel", "/sys/kernel/debug", "/sys/module",
        "/sys/firmware", "/dev", "/proc",
        "/proc/sys", "/proc/sys/vm", "/proc/sys/kernel",
    };

    private readonly IForeignMachine _machine;
    private readonly bool _canMakeNodes;
    private readonly string _root;
    private readonly Lock _gate = new();
    private Dictionary<string, Node> _nodes = new(StringComparer.Ordinal);
    private long _version = -1;

    /// <summary>A view of <paramref name="machine"/> below the directory <paramref name="root"/>, an open descriptor of an empty tmpfs.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="root">The descriptor.</param>
    /// <param name="canMakeNodes">True when mknod(2) of a device is permitted there.</param>
    public MachineView(IForeignMachine machine, int root, bool canMakeNodes)
    {
        _machine = machine;
        _canMakeNodes = canMakeNodes;
        _root = $"/proc/self/fd/{root}";
        var status = default(Libc.StatxBuffer);
        _ = Libc.Statx(root, "", Libc.AT_EMPTY_PATH, 0x100, &status);
        FileSystem = status.FileSystem;
    }

    private enum NodeKind
    {
        Directory,
        File,
        Link,
        Device,
    }

    private readonly record struct Node(NodeKind Kind, string Target, uint Mode, ulong Device);

    /// <summary>The device number of the tmpfs, as statx tells it.</summary>
    public ulong FileSystem { get; }

    /// <summary>The path of an open descriptor as the program sees it.</summary>
    public static string? PathOf(int descriptor) => new FileInfo($"/proc/self/fd/{descriptor}").LinkTarget;

    /// <summary>Fills the tree.</summary>
    /// <returns>What must be bound from the host, a line each: <c>host PATH</c>, or <c>file PATH</c> for a file over one of /proc's.</returns>
    public string Populate()
    {
        var commands = new StringBuilder();
        foreach (var top in (string[])["/sys", "/dev", "/proc"])
        {
            _ = Libc.Mkdir(_root + top, 0x1ed);
        }

        Refresh();
        foreach (var (path, node) in _nodes)
        {
            if (path.StartsWith("/proc/", StringComparison.Ordinal) && node.Kind == NodeKind.File && File.Exists(path))
            {
                commands.Append(CultureInfo.InvariantCulture, $"file {path}\n");
            }
        }

        AddHost("/sys", commands);
        AddHost("/dev", commands);
        return commands.ToString();
    }

    /// <summary>Follows a change of the machine's files. Costs one read of a counter when there was none.</summary>
    public void Refresh()
    {
        if (_machine.Version == Volatile.Read(ref _version))
        {
            return;
        }

        lock (_gate)
        {
            var version = _machine.Version;
            var now = new Dictionary<string, Node>(StringComparer.Ordinal);
            foreach (var top in (string[])["/sys", "/dev", "/proc"])
            {
                Read(top, now);
            }

            foreach (var path in _nodes.Keys.OrderDescending(StringComparer.Ordinal))
            {
                if (!now.TryGetValue(path, out var node) || node.Kind != _nodes[path].Kind || node.Target != _nodes[path].Target)
                {
                    _ = _nodes[path].Kind == NodeKind.Directory ? Libc.Rmdir(_root + path) : Libc.Unlink(_root + path);
                    _nodes.Remove(path);
                }
            }

            foreach (var (path, node) in now.OrderBy(static pair => pair.Key, StringComparer.Ordinal))
            {
                if (!_nodes.TryGetValue(path, out var old))
                {
                    Make(_root + path, node);
                }
                else if (old.Mode != node.Mode)
                {
                    _ = Libc.Chmod(_root + path, node.Mode);
                }
            }

            _nodes = now;
            Volatile.Write(ref _version, version);
        }
    }

    private void Read(string directory, Dictionary<string, Node> into)
    {
        if (_machine.Files.List(directory, out var names) < 0)
        {
            return;
        }

        foreach (var name in names)
        {
            var path = directory + "/" + name;
            if (_machine.Files.ReadLink(path, out var target) >= 0)
            {
                into[path] = new Node(NodeKind.Link, target, AllPermissions, 0);
            }
            else if (_machine.Files.Status(path, out var status) >= 0)
            {
                var kind = status.Kind switch 
                {
                    PathKind.Directory => NodeKind.Directory, PathKind.CharacterDevice => NodeKind.Device, _ => NodeKind.File,
                };
                into[path] = new Node(kind, "", status.Mode & AllPermissions, status.Device);
                if (kind == NodeKind.Directory)
                {
                    Read(path, into);
                }
            }
        }
    }

    private void Make(string path, Node node)
    {
        switch (node.Kind)
        {
            case NodeKind.Directory:
                _ = Libc.Mkdir(path, node.Mode);
                return;
            case NodeKind.Link:
                _ = Libc.Symlink(node.Target, path);
                return;
            case NodeKind.Device when _canMakeNodes:
                _ = Libc.Mknod(path, S_IFCHR | node.Mode, node.Device);
                break;
            default:
                Touch(path);
                break;
        }

        _ = Libc.Chmod(path, node.Mode);
    }

    private static void Touch(string path)
    {
        var file = Libc.Open(path, Libc.O_WRONLY | Libc.O_CREAT | Libc.O_CLOEXEC, 0x1a4);
        if (file >= 0)
        {
            _ = Libc.Close(file);
        }
    }

    // The host's entries of a shared directory that the machine has none of. A PCI host bridge of the host is not shown: its devices are the
    // machine's.
    private void AddHost(string directory, StringBuilder commands)
    {
        DirectoryInfo host = new(directory);
        if (!host.Exists)
        {
            return;
        }

        _ = Libc.Mkdir(_root + directory, 0x1ed);
        foreach (var entry in host.EnumerateFileSystemInfos())
        {
            var path = directory + "/" + entry.Name;
            if (_nodes.TryGetValue(path, out var mine))
            {
                if (mine.Kind == NodeKind.Directory && s_shared.Contains(path))
                {
                    AddHost(path, commands);
                }

                continue;
            }

            if (directory == "/sys/devices" && entry.Name.StartsWith("pci", StringComparison.Ordinal))
            {
                continue;
            }

            if (entry.LinkTarget is { } target)
            {
                _ = Libc.Symlink(target, _root + path);
                continue;
            }

            if (entry is DirectoryInfo)
            {
                _ = Libc.Mkdir(_root + path, 0x1ed);
            }
            else
            {
                Touch(_root + path);
            }

            commands.Append(CultureInfo.InvariantCulture, $"host {path}\n");
        }
    }
}
