using System.Diagnostics;
using System.Globalization;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Hosts;

/// <summary>
/// Writes with a timeout. A driver's remove routine can wait for ever inside the write to <c>unbind</c> (for a user of the device to go away), and a
/// thread in that state cannot be killed: on the kernel such a write is done by a child process, which can be left behind.
/// </summary>
internal sealed class SysfsWriter(IHost host, TimeSpan timeout, Action<string>? remark = null)
{
    /// <summary>The first argument of the child; not a verb for people.</summary>
    public const string ChildVerb = "__write";

    /// <summary>Does one write: 0, -errno, or -ETIMEDOUT when it has not returned in time.</summary>
    public int Write(SysfsWrite step)
    {
        if (host is LinuxHost && PendingFile(step) is { } pending && IsHeld(pending))
        {
            return -Errno.EALREADY; // would wait behind the one that waits
        }

        bool mayHang = step.Path.EndsWith("/unbind", StringComparison.Ordinal);
        if (!mayHang)
        {
            return host.Sysfs.WriteText(step.Path, step.Text);
        }

        return host is LinuxHost ? WriteInChild(step) : WriteInThread(step);
    }

    /// <summary>
    /// The child's whole life: one write, its errno as exit status. It holds a lock as long, by which later commands see that the write still waits.
    /// </summary>
    public static int RunChild(string path, string text)
    {
        FileStream? pending = null;
        if (PendingFile(new SysfsWrite(path, text)) is { } file)
        {
            try
            {
                pending = new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // Without the lock the write is the same; only later commands know less.
            }
        }

        int result = new LinuxSysfs().WriteText(path, text);
        if (pending is not null)
        {
            File.Delete(pending.Name);
            pending.Dispose();
        }

        return -result;
    }

    // By the function that the write is about: an unbind names it in its text, an override in its path.
    private static string? PendingFile(SysfsWrite step)
    {
        string name = step.Path.StartsWith(PciBus.Devices + "/", StringComparison.Ordinal) ? step.Path.Split('/')[5] : step.Text;
        return PciAddress.TryParse(name, out PciAddress address) ? $"{DirectoryBindingStore.DefaultDirectory}/{address}.unbinding" : null;
    }

    private static bool IsHeld(string file)
    {
        if (!File.Exists(file))
        {
            return false;
        }

        try
        {
            using FileStream held = new(file, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
            return false;
        }
        catch (UnauthorizedAccessException)
        {
            return false;
        }
        catch (IOException)
        {
            return File.Exists(file);
        }
    }

    private int WriteInThread(SysfsWrite step)
    {
        Task<int> write = Task.Factory.StartNew(() => host.Sysfs.WriteText(step.Path, step.Text), CancellationToken.None,
            TaskCreationOptions.LongRunning, TaskScheduler.Default);
        try
        {
            return write.Wait(timeout) ? write.Result : -Errno.ETIMEDOUT;
        }
        catch (AggregateException exception)
        {
            throw exception.GetBaseException();
        }
    }

    private int WriteInChild(SysfsWrite step)
    {
        // `vfio` itself, or `dotnet vfio.dll` where there is no launcher.
        string self = Environment.ProcessPath ?? "vfio";
        ProcessStartInfo start = new(self) { UseShellExecute = false, RedirectStandardOutput = true };
        if (Path.GetFileNameWithoutExtension(self) == "dotnet")
        {
            start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "vfio.dll"));
        }

        start.ArgumentList.Add(ChildVerb);
        start.ArgumentList.Add(step.Path);
        start.ArgumentList.Add(step.Text);
        using Process child = Process.Start(start) ?? throw new InvalidOperationException("no child process");
        TimeSpan quiet = TimeSpan.FromSeconds(Math.Min(2, timeout.TotalSeconds));
        if (child.WaitForExit(quiet))
        {
            return -child.ExitCode;
        }

        remark?.Invoke($"waiting for the driver of {step.Text} to let go, at most {TimeoutText}");
        return child.WaitForExit(timeout - quiet) ? -child.ExitCode : -Errno.ETIMEDOUT;
    }

    /// <summary>The timeout in words.</summary>
    public string TimeoutText => timeout.TotalSeconds.ToString(CultureInfo.InvariantCulture) + " s";
}
