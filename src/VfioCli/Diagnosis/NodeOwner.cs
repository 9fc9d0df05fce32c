using System.Globalization;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Diagnosis;

/// <summary><c>USER[:GROUP]</c> for the nodes of bound functions.</summary>
internal sealed record NodeOwner(string Text, uint UserId, uint? GroupId)
{
    /// <summary>Reads it.</summary>
    /// <exception cref="CommandFailure">There is no such user or group.</exception>
    public static NodeOwner Parse(Session session, string text)
    {
        string[] parts = text.Split(':', 2);
        Account user = Accounts.Find(session.Host, parts[0]) ?? throw new CommandFailure(ExitCode.NotFound,
            $"there is no user {parts[0]} on {session.Host.Description}.", "Write --owner USER or USER:GROUP, by name or number.");
        uint? group = parts.Length == 1 ? user.GroupIds.Count > 0 ? user.GroupIds.First() : null
            : Accounts.GroupId(session.Host, parts[1]) ?? throw new CommandFailure(ExitCode.NotFound,
                $"there is no group {parts[1]} on {session.Host.Description}.", "Write --owner USER or USER:GROUP, by name or number.");
        return new NodeOwner(text, user.UserId, group);
    }

    /// <summary>The node whose owner is changed, as a command for the dry run.</summary>
    public string Command(string node) =>
        $"chown {UserId.ToString(CultureInfo.InvariantCulture)}:{GroupId?.ToString(CultureInfo.InvariantCulture) ?? ""} {node}";

    /// <summary>Gives a function's nodes to the user. The seam has no chown, because only this command needs it: this machine's nodes only.</summary>
    /// <returns>0 or -errno.</returns>
    public int Apply(Session session, PciFunction function)
    {
        foreach (string node in new[] { function.DeviceNode, function.Group is { } group ? "/dev/vfio/"
            + group.ToString(CultureInfo.InvariantCulture) : null }.OfType<string>().Where(session.Sysfs.Exists))
        {
            int result = Accounts.ChangeOwner(node, UserId, GroupId);
            if (result < 0)
            {
                return result;
            }
        }

        return 0;
    }
}
