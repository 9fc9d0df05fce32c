using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Diagnosis;

/// <summary>What a host must not lose without being asked: refusals that --force overrides.</summary>
internal static class TakeRules
{
    /// <summary>Throws when taking functions from their drivers would lose data or the way into the host, or would hang in the driver.</summary>
    /// <exception cref="CommandFailure">It would; nothing was changed.</exception>
    public static void Check(Session session, IEnumerable<PciFunction> functions)
    {
        foreach (PciFunction function in functions.Where(static function => !DriverClaim.IsVfio(function.Driver)))
        {
            if (function.Driver is null)
            {
                CheckFramebuffer(session, function);
                continue;
            }

            if (session.Sysfs.Number(function.Path + "/sriov_numvfs") is { } vfs and > 0)
            {
                throw new CommandFailure(ExitCode.Busy,
                    $"{function.Address} has {vfs} VF{(vfs == 1 ? "" : "s")}, which vanish with driver {function.Driver}.",
                    $"`vfio vf delete {function.Address}` first, or say --force. Nothing was changed.")
                {
                    Evidence = [$"{function.Path}/sriov_numvfs={vfs}"],
                };
            }

            HostUse[] vital = [.. HostUse.Of(session.Sysfs, function.Address).Where(static use => use.IsVital)];
            if (vital.Length > 0)
            {
                throw new CommandFailure(
                    ExitCode.Busy,
                    $"the host uses {function.Address}: {string.Join(", ", vital.Select(static use => use.ToString()))}.",
                    $"{Cure(vital[0])}, or say --force to lose it. Nothing was changed.")
                {
                    Evidence = [.. vital.Select(static use => use.ToString())],
                };
            }

            if (Openers(session, function) is { Count: > 0 } openers)
            {
                throw new CommandFailure(
                    ExitCode.Busy,
                    $"driver {function.Driver} will not let go of {function.Address} while its nodes are open:"
                        + $" {string.Join(", ", openers.Select(static holder => $"{holder} has {holder.Node}"))}.",
                    "End these programs first (once the driver waits, ending them does not help any more), or say --force. Nothing was changed.")
                {
                    Evidence = [.. openers.Select(static holder => $"/proc/{holder.ProcessId}/fd -> {holder.Node}")],
                };
            }
        }
    }

    // The firmware's framebuffer needs no driver of the function to hold its BAR.
    private static void CheckFramebuffer(Session session, PciFunction function)
    {
        if (HostUse.Of(session.Sysfs, function.Address).FirstOrDefault(static use => use.Kind == HostUseKind.Framebuffer) is { } use)
        {
            throw new CommandFailure(
                ExitCode.Busy, $"the host uses {function.Address}: {use}, so VFIO could not reserve the BAR.",
                $"{Cure(use)}, or say --force. Nothing was changed.") { Evidence = [$"/proc/iomem={use.Detail}"] };
        }
    }

    /// <summary>Throws when a program has a function open through VFIO: its unbind would wait for that program.</summary>
    /// <exception cref="CommandFailure">It has; nothing was changed.</exception>
    public static void CheckHolders(Session session, IEnumerable<PciFunction> functions)
    {
        foreach (PciFunction function in functions.Where(static function => DriverClaim.IsVfio(function.Driver)))
        {
            string[] nodes = [.. new[] { function.DeviceNode }.OfType<string>()];
            if (DeviceHolder.Of(session.Sysfs, nodes, out _) is [var holder, ..])
            {
                throw new CommandFailure(
                    ExitCode.Busy, $"{holder} has {function.Address} open.",
                    "End that program first, or say --force: the kernel then asks it to give the device back, and waits. Nothing was changed.")
                {
                    Evidence = [$"/proc/{holder.ProcessId}/fd -> {holder.Node}"],
                };
            }
        }
    }

    private static string Cure(HostUse use) => use.Kind switch
    {
        HostUseKind.Mount => $"Unmount {use.Detail} first",
        HostUseKind.Swap => $"`swapoff /dev/{use.Name}` first",
        HostUseKind.Holder => $"Take {use.Detail} apart first",
        HostUseKind.Route => $"Move the address of {use.Name} to another interface first (your login may go through it)",
        _ => "Boot without a console on it (video=efifb:off, or make another card the first)",
    };

    // Drivers of graphics cards count their users and wait for them inside unbind.
    private static IReadOnlyList<DeviceHolder> Openers(Session session, PciFunction function)
    {
        List<string> nodes = [.. session.Sysfs.Entries(function.Path + "/drm").Where(static name => name.StartsWith("card", StringComparison.Ordinal)
            || name.StartsWith("renderD", StringComparison.Ordinal)).Select(static name => "/dev/dri/" + name)];
        if (function.Driver == "nvidia")
        {
            nodes.AddRange(session.Sysfs.Entries("/dev").Where(static name => name.StartsWith("nvidia", StringComparison.Ordinal))
                .Select(static name => "/dev/" + name));
        }

        return DeviceHolder.Of(session.Sysfs, nodes, out _);
    }
}
