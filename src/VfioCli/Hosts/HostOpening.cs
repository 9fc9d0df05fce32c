using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Hosts;

/// <summary>A host, and what changes of its drivers must not forget.</summary>
/// <param name="Iommu">The host.</param>
/// <param name="Fallback">Whether it is the simulator standing in for a missing kernel.</param>
/// <param name="Store">The memory of driver changes.</param>
internal sealed record OpenedHost(IommuHost Iommu, bool Fallback, IBindingStore Store);

/// <summary>Opens the host that the command line asks for.</summary>
internal static class HostOpening
{
    /// <summary>Opens it.</summary>
    /// <param name="choice">What the command line says.</param>
    /// <param name="wantsThisMachine">Whether <c>auto</c> stays on this machine without /dev/iommu.</param>
    /// <exception cref="IommuFdException">The topology or capture cannot be read.</exception>
    public static OpenedHost Open(HostChoice choice, bool wantsThisMachine)
    {
        HostSelection selection = HostSelection.Parse(choice.Host is null or "" ? "auto" : choice.Host) with { Topology = choice.Topology };
        if (choice.Topology is not null && selection.Kind is HostKind.Kernel or HostKind.Capture)
        {
            throw new CommandFailure(ExitCode.Usage, $"--topology describes a simulated machine, and --host {choice.Host} is none.",
                "Leave one of the two out.");
        }

        // A node that is there but may not be opened is this machine's, and a question of permission, not a reason to simulate.
        bool said = !string.IsNullOrWhiteSpace(Environment.GetEnvironmentVariable(HostSelection.Variable));
        if (selection.Kind is null && choice.Topology is null && !said && (wantsThisMachine || File.Exists("/dev/iommu")))
        {
            selection = HostSelection.Kernel;
        }

        IommuHost host = IommuHost.Open(selection);
        return new OpenedHost(host, host.IsFallback,
            host.Kind == HostKind.Kernel ? new DirectoryBindingStore(DirectoryBindingStore.DefaultDirectory) : new MemoryBindingStore());
    }
}
