namespace IommuFd.Native;

/// <summary>The running machine.</summary>
public sealed class LinuxHost : IHost
{
    /// <inheritdoc/>
    public HostKind Kind => HostKind.Kernel;

    /// <inheritdoc/>
    public string Description => Sysfs.ReadText("/proc/sys/kernel/osrelease", out string release) >= 0 ? $"Linux {release.Trim()}" : "Linux";

    /// <inheritdoc/>
    public IKernel Kernel { get; } = new LinuxKernel();

    /// <inheritdoc/>
    public ISysfs Sysfs { get; } = new LinuxSysfs();

    /// <summary>Nothing is held.</summary>
    public void Dispose()
    {
    }
}
