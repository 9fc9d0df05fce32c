using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>What the block devices of a function are used for: mounts, swap, and devices built on them.</summary>
internal static class BlockUse
{
    /// <summary>Adds the uses of the disks in directories named <c>block</c>, and of the namespaces below those named <c>nvme</c>.</summary>
    public static void Collect(ISysfs sysfs, List<string> directories, List<HostUse> uses)
    {
        HashSet<string> names = new(StringComparer.Ordinal);
        foreach (string directory in directories)
        {
            if (directory.EndsWith("/block", StringComparison.Ordinal))
            {
                names.UnionWith(sysfs.Entries(directory));
            }
            else if (directory.EndsWith("/nvme", StringComparison.Ordinal))
            {
                foreach (string name in sysfs.Entries(directory)
                    .SelectMany(controller => sysfs.Entries($"{directory}/{controller}")).Where(IsNamespace))
                {
                    // With native multipath the disk nvme0n1 sits in the subsystem and the controller shows the path nvme0c0n1.
                    int path = name.IndexOf('c', StringComparison.Ordinal), space = name.LastIndexOf('n');
                    _ = names.Add(path > 0 && path < space ? name[..path] + name[space..] : name);
                }
            }
        }

        Queue<string> queue = new(names);
        Dictionary<string, string> paths = new(StringComparer.Ordinal); // device number or /dev name -> block device
        while (queue.TryDequeue(out string? name))
        {
            string path = "/sys/class/block/" + name;
            if (sysfs.Attribute(path + "/dev") is { } number)
            {
                paths[number] = name;
            }

            paths["/dev/" + name] = name;
            if (sysfs.Attribute(path + "/dm/name") is { } mapped)
            {
                paths["/dev/mapper/" + mapped] = name;
            }

            foreach (string entry in sysfs.Entries(path).Where(entry => entry.StartsWith(name, StringComparison.Ordinal) && names.Add(entry)))
            {
                queue.Enqueue(entry); // a partition
            }

            foreach (string holder in sysfs.Entries(path + "/holders"))
            {
                uses.Add(new HostUse(HostUseKind.Holder, name, holder));
                if (names.Add(holder))
                {
                    queue.Enqueue(holder);
                }
            }
        }

        if (paths.Count > 0)
        {
            Mounts(sysfs, paths, uses);
        }
    }

    private static bool IsNamespace(string name) => name.StartsWith("nvme", StringComparison.Ordinal) && name.LastIndexOf('n') > 4;

    private static void Mounts(ISysfs sysfs, Dictionary<string, string> paths, List<HostUse> uses)
    {
        // proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, options, ..., "-", type, source, options.
        foreach (string line in (sysfs.Attribute("/proc/self/mountinfo") ?? "").Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] fields = line.Split(' ');
            int dash = Array.IndexOf(fields, "-");
            if (fields.Length > 5 && (paths.TryGetValue(fields[2], out string? name)
                || (dash > 0 && dash + 2 < fields.Length && paths.TryGetValue(fields[dash + 2], out name))))
            {
                uses.Add(new HostUse(HostUseKind.Mount, name, fields[4].Replace("\\040", " ", StringComparison.Ordinal)));
            }
        }

        foreach (string line in (sysfs.Attribute("/proc/swaps") ?? "").Split('\n').Skip(1))
        {
            if (paths.TryGetValue(line.Split(' ', '\t')[0], out string? name))
            {
                uses.Add(new HostUse(HostUseKind.Swap, name, ""));
            }
        }
    }
}
