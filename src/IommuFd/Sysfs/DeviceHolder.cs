using System.Globalization;
using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>A process that has a node open.</summary>
/// <param name="ProcessId">Its id.</param>
/// <param name="Command">Its command name.</param>
/// <param name="Node">The node.</param>
public sealed record DeviceHolder(int ProcessId, string Command, string Node)
{
    /// <summary>As <c>qemu-system-x86 (pid 4711)</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Command} (pid {ProcessId})");

    /// <summary>
    /// Who has one of <paramref name="nodes"/> open, by /proc. Only root sees every process; <paramref name="complete"/> says whether all could be
    /// looked at.
    /// </summary>
    public static IReadOnlyList<DeviceHolder> Of(ISysfs sysfs, IReadOnlyCollection<string> nodes, out bool complete)
    {
        complete = true;
        List<DeviceHolder> holders = [];
        if (nodes.Count == 0)
        {
            return holders;
        }

        foreach (string entry in sysfs.Entries("/proc"))
        {
            if (!int.TryParse(entry, NumberStyles.None, CultureInfo.InvariantCulture, out int id))
            {
                continue;
            }

            string directory = $"/proc/{entry}/fd";
            int result = sysfs.List(directory, out string[] descriptors);
            complete &= result is not (-Errno.EACCES or -Errno.EPERM);
            foreach (string descriptor in descriptors)
            {
                if (sysfs.ReadLink($"{directory}/{descriptor}", out string target) >= 0 && nodes.Contains(target))
                {
                    holders.Add(new DeviceHolder(id, sysfs.Attribute($"/proc/{entry}/comm") ?? "?", target));
                    break;
                }
            }
        }

        return holders;
    }
}
