using System.Globalization;
using IommuFd.Native;
using Mono.Unix;

namespace VfioCli.Diagnosis;

/// <summary>A user with the groups that count when a node is opened.</summary>
/// <param name="Name">The name, or the number of a user without one.</param>
/// <param name="UserId">The number.</param>
/// <param name="GroupIds">The main group and all others.</param>
internal sealed record Account(string Name, uint UserId, IReadOnlyCollection<uint> GroupIds)
{
    /// <summary>Whether the mode bits of a node let this user read and write it; root may always.</summary>
    public bool MayReadWrite(PathStatus status) => UserId == 0
        || ((status.UserId == UserId ? status.Mode >> 6 : GroupIds.Contains(status.GroupId) ? status.Mode >> 3 : status.Mode) & 6) == 6;
}

/// <summary>
/// Users and groups by name. The only place that uses Mono.Posix: on the running machine it asks the C library, and so knows users of LDAP and the
/// like; without its native helper (musl), and on simulated and captured machines, /etc/passwd and /etc/group are read instead.
/// </summary>
internal static class Accounts
{
    /// <summary>A user by name or number; null for nobody of that name.</summary>
    public static Account? Find(IHost host, string name)
    {
        if (host.Kind == HostKind.Kernel)
        {
            try
            {
                return FromSystem(name);
            }
            catch (Exception exception) when (exception is DllNotFoundException or EntryPointNotFoundException or TypeInitializationException)
            {
                // No native helper for this C library: the files have to do.
            }
        }

        return FromFiles(host.Sysfs, name);
    }

    /// <summary>The user of this process.</summary>
    public static Account Current(IHost host)
    {
        string name = Environment.UserName;
        return Find(host, name) ?? new Account(name, name == "root" ? 0 : uint.MaxValue, []);
    }

    /// <summary>A group's name on the host, or its number.</summary>
    public static string GroupName(IHost host, uint id)
    {
        string number = id.ToString(CultureInfo.InvariantCulture);
        return Lines(host.Sysfs, "/etc/group").FirstOrDefault(fields => fields.Length > 2 && fields[2] == number)?[0] ?? number;
    }

    /// <summary>A group's number, or null.</summary>
    public static uint? GroupId(IHost host, string name) =>
        uint.TryParse(name, CultureInfo.InvariantCulture, out uint number) ? number
        : uint.TryParse(Lines(host.Sysfs, "/etc/group").FirstOrDefault(fields => fields.Length > 2 && fields[0] == name)?[2],
            CultureInfo.InvariantCulture, out uint found) ? found : null;

    /// <summary>A user's name on the host, or its number.</summary>
    public static string UserName(IHost host, uint id)
    {
        string number = id.ToString(CultureInfo.InvariantCulture);
        return id == 0 ? "root" : Lines(host.Sysfs, "/etc/passwd").FirstOrDefault(fields => fields.Length > 2 && fields[2] == number)?[0] ?? number;
    }

    /// <summary>chown(2) of a node of this machine. 0 or -errno.</summary>
    public static int ChangeOwner(string node, uint user, uint? group)
    {
        try
        {
            return Mono.Unix.Native.Syscall.chown(node, user, group ?? uint.MaxValue) == 0 ? 0
                : Mono.Unix.Native.NativeConvert.TryFromErrno(Mono.Unix.Native.Stdlib.GetLastError(), out int errno) ? -errno : -Errno.EIO;
        }
        catch (Exception exception) when (exception is DllNotFoundException or EntryPointNotFoundException or TypeInitializationException)
        {
            return -Errno.ENOSYS; // no native helper for this C library
        }
    }

    private static Account? FromSystem(string name)
    {
        try
        {
            UnixUserInfo user = uint.TryParse(name, CultureInfo.InvariantCulture, out uint number)
                ? new UnixUserInfo(number)
                : new UnixUserInfo(name);
            HashSet<uint> groups = [(uint)user.GroupId];
            foreach (UnixGroupInfo group in UnixGroupInfo.GetLocalGroups())
            {
                if (group.GetMemberNames().Contains(user.UserName))
                {
                    _ = groups.Add((uint)group.GroupId);
                }
            }

            return new Account(user.UserName, (uint)user.UserId, groups);
        }
        catch (ArgumentException)
        {
            return null; // no such user
        }
    }

    private static Account? FromFiles(ISysfs sysfs, string name)
    {
        string[]? user = Lines(sysfs, "/etc/passwd").FirstOrDefault(fields => fields.Length > 3 && (fields[0] == name || fields[2] == name));
        if (user is null)
        {
            return name is "root" or "0" ? new Account("root", 0, [0]) : null;
        }

        HashSet<uint> groups = [uint.Parse(user[3], CultureInfo.InvariantCulture)];
        foreach (string[] fields in Lines(sysfs, "/etc/group"))
        {
            if (fields.Length > 3 && fields[3].Split(',').Contains(user[0]) && uint.TryParse(fields[2], CultureInfo.InvariantCulture, out uint id))
            {
                _ = groups.Add(id);
            }
        }

        return new Account(user[0], uint.Parse(user[2], CultureInfo.InvariantCulture), groups);
    }

    private static IEnumerable<string[]> Lines(ISysfs sysfs, string file) =>
        sysfs.ReadText(file, out string text) < 0
            ? []
            : text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static line => line.Split(':'));
}
