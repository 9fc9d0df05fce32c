using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Tests.Support;

/// <summary>What SIGKILL is to a command: nothing of it runs any more.</summary>
internal sealed class KilledException : Exception;

/// <summary>The n-th write fails, before or after it had its effect.</summary>
internal sealed class FaultySysfs(ISysfs inner, int failing, Func<int> fault, bool afterTheWrite = false) : ISysfs
{
    private int _writes;

    public int ReadText(string path, out string text) => inner.ReadText(path, out text);

    public int ReadBytes(string path, out byte[] bytes) => inner.ReadBytes(path, out bytes);

    public int WriteText(string path, string text)
    {
        if (++_writes != failing)
        {
            return inner.WriteText(path, text);
        }

        if (afterTheWrite)
        {
            _ = inner.WriteText(path, text);
        }

        return fault();
    }

    public int ReadLink(string path, out string target) => inner.ReadLink(path, out target);

    public int List(string path, out string[] names) => inner.List(path, out names);

    public int Status(string path, out PathStatus status) => inner.Status(path, out status);
}

/// <summary>A store whose process dies at its n-th change, before or after it is on disk.</summary>
internal sealed class KillingStore(IBindingStore inner, int failing, bool afterTheChange) : IBindingStore
{
    /// <summary>Changes so far.</summary>
    public int Changes { get; private set; }

    public int Begin(IReadOnlyList<OriginalBinding> before)
    {
        int result = 0;
        Change(() => result = inner.Begin(before));
        return result;
    }

    public void Commit() => Change(inner.Commit);

    public void Remember(OriginalBinding original) => Change(() => inner.Remember(original));

    public OriginalBinding? Recall(PciAddress address) => inner.Recall(address);

    public void Forget(PciAddress address) => Change(() => inner.Forget(address));

    public IReadOnlyList<OriginalBinding> Remembered() => inner.Remembered();

    public IReadOnlyList<OriginalBinding> Unfinished() => inner.Unfinished();

    private void Change(Action action)
    {
        bool dies = ++Changes == failing;
        if (!dies || afterTheChange)
        {
            action();
        }

        if (dies)
        {
            throw new KilledException();
        }
    }
}
