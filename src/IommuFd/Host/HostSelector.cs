using IommuFd.HwSim;
using IommuFd.Native;

namespace IommuFd;

/// <summary>Chooses the host. The one place of the library that knows the simulator.</summary>
internal static class HostSelector
{
    private const string DefaultTopology = "intel";

    internal static (IHost Host, string Reason, bool Fallback) Select(HostSelection selection, string? variable)
    {
        string source = "";
        if (selection.Kind is null && !string.IsNullOrWhiteSpace(variable))
        {
            selection = HostSelection.Parse(variable) with { Topology = selection.Topology };
            source = $"{HostSelection.Variable}={variable}";
        }

        switch (selection.Kind)
        {
            case HostKind.Kernel:
                return (new LinuxHost(), Or(source, "the kernel was asked for"), false);
            case HostKind.Simulator:
                return (Simulate(selection.Topology), Or(source, "the simulator was asked for"), false);
            case HostKind.Capture:
                return (Capture(selection.Path!), Or(source, "a capture was asked for"), false);
            default:
                if (selection.Topology is not null)
                {
                    return (Simulate(selection.Topology), "a topology was asked for", false);
                }

                LinuxHost kernel = new();
                int result = kernel.Kernel.Open("/dev/iommu", Libc.O_RDWR | Libc.O_CLOEXEC, 0);
                if (result >= 0)
                {
                    _ = kernel.Kernel.Close(result);
                    return (kernel, "/dev/iommu answers", false);
                }

                if (result is -Errno.EACCES or -Errno.EPERM)
                {
                    // a question of permission, not a reason to simulate
                    return (kernel, "/dev/iommu is there, but this user may not open it", false);
                }

                return (Simulate(null),
                    $"/dev/iommu does not answer ({Errno.Name(-result)}: {ErrorCauses.Find("open /dev/iommu", -result).Explanation})", true);
        }
    }

    private static SimulatedHost Simulate(string? topology)
    {
        try
        {
            return new SimulatedHost(Topology.Load(topology ?? DefaultTopology));
        }
        catch (TopologyException failure)
        {
            throw Failure.Because(
                "open simulator", Errno.EINVAL, FailureCause.BadHostDescription, "the topology cannot be used: " + failure.Message.TrimEnd('.'),
                "Name one that is built in, or a JSON file; docs/topology.md has the fields.", new Evidence("topology", topology ?? DefaultTopology));
        }
    }

    private static CapturedHost Capture(string path)
    {
        try
        {
            return new CapturedHost(path);
        }
        catch (Exception failure) when (failure is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            throw Failure.Because(
                "open capture", failure is UnauthorizedAccessException ? Errno.EACCES : failure is InvalidDataException ? Errno.EINVAL : Errno.ENOENT,
                FailureCause.BadHostDescription, "the capture cannot be read: " + failure.Message.TrimEnd('.'),
                "Name a directory or tar file made by 'vfio capture', or one of auto, kernel, sim.", new Evidence("path", path));
        }
    }

    private static string Or(string first, string second) => first.Length != 0 ? first : second;
}
