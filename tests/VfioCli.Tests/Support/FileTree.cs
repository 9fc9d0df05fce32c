using System.Text;
using IommuFd.Native;

namespace VfioCli.Tests.Support;

/// <summary>Files, directories and links in memory, with the path rules of Linux. What a write does is said by whoever builds the tree.</summary>
internal sealed class FileTree : ISysfs
{
    // A driver that hangs in unbind does so on a thread of its own. Never held while an effect runs.
    private readonly Lock _gate = new();
    private readonly SortedDictionary<string, byte[]> _files = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, string> _links = new(StringComparer.Ordinal);
    private readonly HashSet<string> _directories = new(["/"], StringComparer.Ordinal);

    /// <summary>Effects of writes by file path; the result is 0 or -errno.</summary>
    public Dictionary<string, Func<string, int>> Effects { get; } = new(StringComparer.Ordinal);

    /// <summary>Paths that answer with -errno when they are read, listed or followed.</summary>
    public Dictionary<string, int> Unreadable { get; } = new(StringComparer.Ordinal);

    /// <summary>Owner and mode of nodes that have other ones than root and 0600.</summary>
    public Dictionary<string, PathStatus> Statuses { get; } = new(StringComparer.Ordinal);

    public void File(string path, string text) => Bytes(path, Encoding.UTF8.GetBytes(text));

    public void Bytes(string path, byte[] bytes)
    {
        lock (_gate)
        {
            Parents(path);
            _files[path] = bytes;
        }
    }

    public void Directory(string path)
    {
        lock (_gate)
        {
            Parents(path);
            _ = _directories.Add(path);
        }
    }

    public void Link(string path, string target)
    {
        lock (_gate)
        {
            Parents(path);
            _links[path] = target;
        }
    }

    public void Remove(string path)
    {
        lock (_gate)
        {
            foreach (string key in _files.Keys.Where(key => key == path || key.StartsWith(path + "/", StringComparison.Ordinal)).ToList())
            {
                _ = _files.Remove(key);
            }

            foreach (string key in _links.Keys.Where(key => key == path || key.StartsWith(path + "/", StringComparison.Ordinal)).ToList())
            {
                _ = _links.Remove(key);
            }

            _ = _directories.RemoveWhere(key => key == path || key.StartsWith(path + "/", StringComparison.Ordinal));
        }
    }

    public string Text(string path) => Encoding.UTF8.GetString(_files[Resolve(path, true)!]);

    public int ReadText(string path, out string text)
    {
        int result = ReadBytes(path, out byte[] bytes);
        text = Encoding.UTF8.GetString(bytes);
        return result;
    }

    public int ReadBytes(string path, out byte[] bytes)
    {
        lock (_gate)
        {
            bytes = [];
            if (Resolve(path, true) is not { } real)
            {
                return -Errno.ENOENT;
            }

            if (Unreadable.TryGetValue(real, out int errno))
            {
                return -errno;
            }

            if (!_files.TryGetValue(real, out byte[]? found))
            {
                return -Errno.EISDIR;
            }

            bytes = found;
            return bytes.Length;
        }
    }

    public int WriteText(string path, string text)
    {
        if (text.Length == 0)
        {
            return -Errno.EINVAL;
        }

        string? real;
        lock (_gate)
        {
            real = Resolve(path, true);
            if (real is null || !_files.ContainsKey(real))
            {
                return -Errno.ENOENT;
            }
        }

        if (Effects.TryGetValue(real, out Func<string, int>? effect))
        {
            return effect(text);
        }

        File(real, text);
        return 0;
    }

    public int ReadLink(string path, out string target)
    {
        lock (_gate)
        {
            target = "";
            if (Resolve(path, false) is not { } real)
            {
                return -Errno.ENOENT;
            }

            if (Unreadable.TryGetValue(real, out int errno))
            {
                return -errno;
            }

            if (!_links.TryGetValue(real, out string? found))
            {
                return -Errno.EINVAL;
            }

            target = found;
            return target.Length;
        }
    }

    public int List(string path, out string[] names)
    {
        lock (_gate)
        {
            names = [];
            if (Resolve(path, true) is not { } real)
            {
                return -Errno.ENOENT;
            }

            if (Unreadable.TryGetValue(real, out int errno))
            {
                return -errno;
            }

            if (!_directories.Contains(real))
            {
                return -Errno.ENOTDIR;
            }

            string prefix = real == "/" ? "/" : real + "/";
            names = [.. _files.Keys.Concat(_links.Keys).Concat(_directories)
                .Where(key => key.Length > prefix.Length && key.StartsWith(prefix, StringComparison.Ordinal))
                .Select(key => key[prefix.Length..].Split('/')[0]).Distinct().Order(StringComparer.Ordinal)];
            return names.Length;
        }
    }

    public int Status(string path, out PathStatus status)
    {
        lock (_gate)
        {
            status = default;
            if (Resolve(path, true) is not { } real)
            {
                return -Errno.ENOENT;
            }

            status = Statuses.TryGetValue(real, out PathStatus found) ? found
                : _directories.Contains(real) ? new PathStatus(PathKind.Directory, 0x1ed, 0, 0, 0)
                : new PathStatus(real.StartsWith("/dev/", StringComparison.Ordinal) ? PathKind.CharacterDevice : PathKind.File, 0x180, 0, 0, 0);
            return 0;
        }
    }

    private void Parents(string path)
    {
        for (int slash = path.LastIndexOf('/'); slash > 0; slash = path.LastIndexOf('/', slash - 1))
        {
            _ = _directories.Add(path[..slash]);
        }
    }

    // Follows links component by component; null when something is missing.
    private string? Resolve(string path, bool followLast, int depth = 0)
    {
        if (depth > 40)
        {
            return null;
        }

        string current = "";
        string[] parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        for (int i = 0; i < parts.Length; i++)
        {
            if (parts[i] == "..")
            {
                current = current.Length == 0 ? "" : current[..current.LastIndexOf('/')];
                continue;
            }

            string next = current + "/" + parts[i];
            if (_links.TryGetValue(next, out string? target) && (followLast || i < parts.Length - 1))
            {
                string? real = Resolve(target.StartsWith('/') ? target : current + "/" + target, true, depth + 1);
                if (real is null)
                {
                    return null;
                }

                current = real;
            }
            else if (_links.ContainsKey(next) || _files.ContainsKey(next) || _directories.Contains(next))
            {
                current = next;
            }
            else
            {
                return null;
            }
        }

        return current.Length == 0 ? "/" : current;
    }
}
