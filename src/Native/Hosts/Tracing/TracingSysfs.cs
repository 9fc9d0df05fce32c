namespace IommuFd.Native;

/// <summary>The files of a <see cref="TracingHost"/>.</summary>
internal sealed class TracingSysfs(ISysfs inner, Tracer tracer) : ISysfs
{
    public int ReadText(string path, out string text)
    {
        int result = inner.ReadText(path, out text);
        tracer.Write("read", Path(path), result < 0 ? null : [("text", TraceValue.Quoted(text))], result);
        return result;
    }

    public int ReadBytes(string path, out byte[] bytes)
    {
        int result = inner.ReadBytes(path, out bytes);
        tracer.Write("read", Path(path), result < 0 ? null : [("bytes", TraceValue.Data(bytes))], result);
        return result;
    }

    public int WriteText(string path, string text)
    {
        int result = inner.WriteText(path, text);
        tracer.Write("write", [(".path", TraceValue.Quoted(path)), (".text", TraceValue.Quoted(text))], null, result);
        return result;
    }

    public int ReadLink(string path, out string target)
    {
        int result = inner.ReadLink(path, out target);
        tracer.Write("readlink", Path(path), result < 0 ? null : [("target", TraceValue.Quoted(target))], result);
        return result;
    }

    public int List(string path, out string[] names)
    {
        int result = inner.List(path, out names);
        tracer.Write("list", Path(path), null, result);
        return result;
    }

    public int Status(string path, out PathStatus status)
    {
        int result = inner.Status(path, out status);
        tracer.Write("stat", Path(path), result < 0 ? null : [("kind", TraceValue.Quoted(status.Kind.ToString())),
            ("mode", new TraceValue("0" + Convert.ToString(status.Mode, 8), status.Mode))], result);
        return result;
    }

    private static (string, TraceValue)[] Path(string path) => [(".path", TraceValue.Quoted(path))];
}
