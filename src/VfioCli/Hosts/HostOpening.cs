using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Hosts;

/// <summary>A host with what is to be said about it.</summary>
/// <param name="Host">The host.</param>
/// <param name="Reason">Why it was taken.</param>
/// <param name="Fallback">Whether the simulator stands in for a missing kernel.</param>
/// <param name="Store">What changes of drivers on it must not forget.</param>
internal sealed record OpenedHost(IHost Host, string Reason, bool Fallback, IBindingStore Store);

/// <summary>Opens the host that the command line asks for.</summary>
internal static class HostOpening
{
    /// <summary>Opens it.</summary>
    public static OpenedHost Open(HostChoice choice, bool wantsThisMachine)
    {
        _ = choice;
        _ = wantsThisMachine;
        return new OpenedHost(new LinuxHost(), "asked for", false, new DirectoryBindingStore(DirectoryBindingStore.DefaultDirectory));
    }
}
