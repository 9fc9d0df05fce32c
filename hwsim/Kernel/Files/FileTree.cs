using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The directories of a simulated machine: one tree for /sys, /proc, /dev and /etc. Show and store functions run outside of the tree's lock, so
/// they may change the tree.
/// </summary>
internal sealed class FileTree
{
    private const int MaximumLinks = 40;
    private readonly Lock _gate = new();
    private long _version;

    /// <summary>Changes whenever a name appears or vanishes.</summary>
    public long Version => Volatile.Read(ref _version);

    /// <summary>"/".</summary>
    public DirectoryNode Root { get; } = new();

    /// <summary>Finds what a path names.</summary>
    /// <param name="path">An absolute path.</param>
    /// <param name="followLast">True when a link at the end is followed.</param>
    /// <param name="node">What was found.</param>
    /// <returns>0, -ENOENT, -ENOTDIR or -ELOOP.</returns>
    public int Find(string path, bool followLast, out FileNode? node)
    {
        lock (_gate)
        {
            int links = 0;
            return Walk(Root, path, followLast, ref links, out node);
        }
    }

    /// <summary>The node at a path that must be there.</summary>
    public T Get<T>(string path)
        where T : FileNode => Find(path, true, out FileNode? node) == 0 && node is T found
            ? found
            : throw new InvalidOperationException($"{path} is not in the tree.");

    /// <summary>The names in a directory, in ordinal order.</summary>
    public string[] List(DirectoryNode directory)
    {
        lock (_gate)
        {
            return [.. directory.Entries.Keys];
        }
    }

    /// <summary>Makes a directory with its parents, or finds it.</summary>
    public DirectoryNode Directory(string path)
    {
        lock (_gate)
        {
            DirectoryNode at = Root;
            foreach (string name in path.Split('/', StringSplitOptions.RemoveEmptyEntries))
            {
                if (!at.Entries.TryGetValue(name, out FileNode? next))
                {
                    next = new DirectoryNode();
                    Insert(at, name, next);
                }

                at = (DirectoryNode)next;
            }

            return at;
        }
    }

    /// <summary>Puts a node into a directory under a name that is free; a removed one takes its place.</summary>
    public T Add<T>(DirectoryNode directory, string name, T node)
        where T : FileNode
    {
        lock (_gate)
        {
            Insert(directory, name, node);
            return node;
        }
    }

    /// <summary>Adds a subdirectory.</summary>
    public DirectoryNode Add(DirectoryNode directory, string name) => Add(directory, name, new DirectoryNode());

    /// <summary>Adds a text attribute.</summary>
    public void Add(DirectoryNode directory, string name, Func<string>? show, Func<string, int>? store = null, uint? mode = null) =>
        Add(directory, name, AttributeNode.Text(show, store, mode));

    /// <summary>Adds a link to another node, relative as sysfs makes them.</summary>
    public void Link(DirectoryNode directory, string name, FileNode target)
    {
        lock (_gate)
        {
            string[] from = directory.Path.Split('/', StringSplitOptions.RemoveEmptyEntries);
            string[] to = target.Path.Split('/', StringSplitOptions.RemoveEmptyEntries);
            int common = 0;
            while (common < from.Length && common < to.Length && from[common] == to[common])
            {
                common++;
            }

            Insert(directory, name, new LinkNode(string.Concat(Enumerable.Repeat("../", from.Length - common)) + string.Join('/', to[common..])));
        }
    }

    /// <summary>Takes a node, with everything below it, out of the tree.</summary>
    public void Remove(FileNode node)
    {
        lock (_gate)
        {
            if (node.Parent is { } parent)
            {
                parent.Entries.Remove(node.Name);
                _version++;
                node.Parent = null;
            }
        }
    }

    /// <summary>Takes a name out of a directory if it is there.</summary>
    public void Remove(DirectoryNode directory, string name)
    {
        lock (_gate)
        {
            if (directory.Entries.TryGetValue(name, out FileNode? node))
            {
                directory.Entries.Remove(name);
                node.Parent = null;
                _version++;
            }
        }
    }

    private void Insert(DirectoryNode directory, string name, FileNode node)
    {
        _version++;
        node.Name = name;
        node.Parent = directory;
        directory.Entries[name] = node;
    }

    private static int Walk(DirectoryNode start, string path, bool followLast, ref int links, out FileNode? node)
    {
        node = null;
        FileNode at = start;
        string[] names = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        for (int i = 0; i < names.Length; i++)
        {
            if (at is not DirectoryNode directory)
            {
                return -Errno.ENOTDIR;
            }

            string name = names[i];
            if (name == ".")
            {
                continue;
            }

            if (name == "..")
            {
                at = directory.Parent ?? directory;
                continue;
            }

            if (!directory.Entries.TryGetValue(name, out FileNode? next))
            {
                return -Errno.ENOENT;
            }

            bool last = i == names.Length - 1;
            if (next is LinkNode link && (!last || followLast || path.EndsWith('/')))
            {
                if (++links > MaximumLinks)
                {
                    return -Errno.ELOOP;
                }

                DirectoryNode from = directory;
                if (link.Target.StartsWith('/'))
                {
                    while (from.Parent is not null)
                    {
                        from = from.Parent;
                    }
                }

                int error = Walk(from, link.Target, true, ref links, out FileNode? target);
                if (error < 0)
                {
                    return error;
                }

                next = target!;
            }

            at = next;
        }

        if (path.EndsWith('/') && at is not DirectoryNode)
        {
            return -Errno.ENOTDIR;
        }

        node = at;
        return 0;
    }
}
