namespace IommuFd.Native;

/// <summary>The files of a <see cref="FaultInjectingHost"/>.</summary>
internal sealed class FaultInjectingSysfs(ISysfs inner, FaultInjectingHost host) : ISysfs
{
    public int ReadText(string path, out string text)
    {
        text = "";
        return host.Decide(SystemCall.SysfsReadText) is int error and < 0 ? error : inner.ReadText(path, out text);
    }

    public int ReadBytes(string path, out byte[] bytes)
    {
        bytes = [];
        return host.Decide(SystemCall.SysfsReadBytes) is int error and < 0 ? error : inner.ReadBytes(path, out bytes);
    }

    public int WriteText(string path, string text) => host.Decide(SystemCall.SysfsWriteText) is int error and < 0
        ? error
        : inner.WriteText(path, text);

    public int ReadLink(string path, out string target)
    {
        target = "";
        return host.Decide(SystemCall.SysfsReadLink) is int error and < 0 ? error : inner.ReadLink(path, out target);
    }

    public int List(string path, out string[] names)
    {
        names = [];
        return host.Decide(SystemCall.SysfsList) is int error and < 0 ? error : inner.List(path, out names);
    }

    public int Status(string path, out PathStatus status)
    {
        status = default;
        return host.Decide(SystemCall.SysfsStatus) is int error and < 0 ? error : inner.Status(path, out status);
    }
}
