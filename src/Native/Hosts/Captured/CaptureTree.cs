using System.Formats.Tar;
using System.IO.Compression;
using System.Text;

namespace IommuFd.Native;

/// <summary>What a capture holds, by absolute path on the captured machine. Links are followed inside the capture only.</summary>
internal sealed class CaptureTree
{
    private const int MaximumLinks = 40; // as the kernel's own limit
    private readonly Dictionary<string, Node> _nodes = new(StringComparer.Ordinal) { ["/"] = new Node(PathKind.Directory, 0x1ed, 0, null, null) };
    private readonly Dictionary<string, SortedSet<string>> _children = new(StringComparer.Ordinal);

    /// <summary>One thing in a capture.</summary>
    internal sealed record Node(PathKind Kind, uint Mode, ulong Device, string? Target, Func<byte[]>? Content);

    /// <summary>Reads a directory, a tar file or a gzipped tar file.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    /// <exception cref="InvalidDataException">It is not a tar file.</exception>
    internal static CaptureTree Load(string path)
    {
        CaptureTree tree = new();
        if (Directory.Exists(path))
        {
            tree.AddDirectory(Path.GetFullPath(path), "");
            return tree;
        }

        using FileStream file = new(path, FileMode.Open, FileAccess.Read);
        bool zipped = file.ReadByte() == 0x1f && file.ReadByte() == 0x8b;
        file.Position = 0;
        using Stream stream = zipped ? new GZipStream(file, CompressionMode.Decompress) : file;
        using TarReader reader = new(stream);
        while (reader.GetNextEntry(copyData: false) is { } entry)
        {
            tree.AddEntry(entry);
        }

        return tree;
    }

    /// <summary>Finds a path. 0 or -errno; <paramref name="real"/> is the path without links.</summary>
    internal int Find(string path, bool followLast, out Node? node, out string real)
    {
        node = null;
        real = "/";
        if (!path.StartsWith('/'))
        {
            return -Errno.ENOENT;
        }

        Stack<string> left = new();
        Push(left, path);
        string at = "/";
        int links = 0;
        while (left.TryPop(out string? name))
        {
            if (name == "..")
            {
                at = Parent(at);
                continue;
            }

            string next = at == "/" ? "/" + name : $"{at}/{name}";
            if (!_nodes.TryGetValue(next, out Node? found))
            {
                return _nodes[at].Kind == PathKind.Directory ? -Errno.ENOENT : -Errno.ENOTDIR;
            }

            if (found.Kind == PathKind.SymbolicLink && (left.Count > 0 || followLast))
            {
                if (++links > MaximumLinks)
                {
                    return -Errno.ELOOP;
                }

                if (found.Target!.StartsWith('/'))
                {
                    at = "/";
                }

                Push(left, found.Target);
                continue;
            }

            at = next;
        }

        node = _nodes[at];
        real = at;
        return 0;
    }

    /// <summary>The names in a directory, in ordinal order.</summary>
    internal string[] Children(string real) => _children.TryGetValue(real, out SortedSet<string>? names) ? [.. names] : [];

    private static void Push(Stack<string> left, string path)
    {
        string[] names = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        for (int i = names.Length - 1; i >= 0; i--)
        {
            if (names[i] != ".")
            {
                left.Push(names[i]);
            }
        }
    }

    private static string Parent(string path) => path.LastIndexOf('/') is int slash and > 0 ? path[..slash] : "/";

    private void Add(string path, Node node)
    {
        if (path == "/")
        {
            return;
        }

        string parent = Parent(path);
        if (!_nodes.ContainsKey(parent))
        {
            Add(parent, new Node(PathKind.Directory, 0x1ed, 0, null, null));
        }

        _nodes[path] = node;
        if (!_children.TryGetValue(parent, out SortedSet<string>? names))
        {
            _children[parent] = names = new SortedSet<string>(StringComparer.Ordinal);
        }

        _ = names.Add(path[(path.LastIndexOf('/') + 1)..]);
    }

    private void AddDirectory(string directory, string prefix)
    {
        foreach (FileSystemInfo entry in new DirectoryInfo(directory).EnumerateFileSystemInfos())
        {
            string path = $"{prefix}/{entry.Name}", real = entry.FullName;
            uint mode = (uint)entry.UnixFileMode;
            if (entry.LinkTarget is { } target)
            {
                Add(path, new Node(PathKind.SymbolicLink, mode, 0, target, null));
            }
            else if (entry is DirectoryInfo)
            {
                Add(path, new Node(PathKind.Directory, mode, 0, null, null));
                AddDirectory(real, path);
            }
            else
            {
                Add(path, new Node(PathKind.File, mode, 0, null, () => File.ReadAllBytes(real)));
            }
        }
    }

    private void AddEntry(TarEntry entry)
    {
        string[] names = entry.Name.Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (names.Contains(".."))
        {
            throw new InvalidDataException($"The entry '{entry.Name}' leads out of the archive.");
        }

        string path = "/" + string.Join('/', names.Where(static name => name != "."));
        uint mode = (uint)entry.Mode;
        switch (entry.EntryType)
        {
            case TarEntryType.Directory:
                Add(path, new Node(PathKind.Directory, mode, 0, null, null));
                break;
            case TarEntryType.SymbolicLink:
                Add(path, new Node(PathKind.SymbolicLink, mode, 0, entry.LinkName, null));
                break;
            case TarEntryType.CharacterDevice:
                PosixTarEntry device = (PosixTarEntry)entry;
                Add(path, new Node(PathKind.CharacterDevice, mode, ((ulong)(uint)device.DeviceMajor << 8) | (uint)device.DeviceMinor, null, null));
                break;
            case TarEntryType.RegularFile or TarEntryType.V7RegularFile or TarEntryType.ContiguousFile:
                using (MemoryStream content = new())
                {
                    entry.DataStream?.CopyTo(content);
                    byte[] bytes = content.ToArray();
                    Add(path, new Node(PathKind.File, mode, 0, null, () => bytes));
                }

                break;
            default:
                break; // pax headers and the like carry nothing of the machine
        }
    }
}
