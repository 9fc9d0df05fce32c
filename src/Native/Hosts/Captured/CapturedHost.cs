namespace IommuFd.Native;

/// <summary>
/// Files taken from somebody's machine: a directory, a tar file or a gzipped tar file with <c>sys/</c>, <c>proc/</c>, <c>dev/</c> and <c>etc/</c>. It
/// can be looked at; opening, changing and every other call is -EROFS.
/// </summary>
public sealed class CapturedHost : IHost
{
    /// <summary>Reads a capture.</summary>
    /// <param name="path">The directory or archive.</param>
    /// <exception cref="IOException">It cannot be read.</exception>
    /// <exception cref="InvalidDataException">It is not an archive.</exception>
    public CapturedHost(string path)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        Description = $"capture {path}";
        Sysfs = new CapturedSysfs(CaptureTree.Load(path));
    }

    /// <inheritdoc/>
    public HostKind Kind => HostKind.Capture;

    /// <inheritdoc/>
    public string Description { get; }

    /// <inheritdoc/>
    public IKernel Kernel { get; } = new CapturedKernel();

    /// <inheritdoc/>
    public ISysfs Sysfs { get; }

    /// <summary>Nothing is held.</summary>
    public void Dispose()
    {
    }
}
