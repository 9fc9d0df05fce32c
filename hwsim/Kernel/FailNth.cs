namespace IommuFd.HwSim.Kernel;

/// <summary>
/// Fault injection (/proc/PID/task/TID/fail-nth of Documentation/fault-injection): the n-th thing that can fail in the process's calls fails. What
/// can fail is what the simulated kernel asks of the outside: copies from and to user memory (EFAULT), pinning and physical memory (ENOMEM), and new
/// descriptors (EMFILE).
/// </summary>
/// <remarks>
/// Does not model: one count a thread (here it is one a process), and failing allocations of the simulated kernel's own objects, which do not fail.
/// </remarks>
public sealed class FailNth
{
    private int _left;

    /// <summary>How many more things succeed before one fails, plus 1; 0 when nothing will fail.</summary>
    public int Left
    {
        get => Volatile.Read(ref _left);
        set
        {
            IsCommitted = false;
            Volatile.Write(ref _left, value);
        }
    }

    /// <summary>
    /// True: copies to user memory succeed. A command that answers through memory has then done its work, and some commands do not take it back.
    /// </summary>
    public bool SparesAnswers { get; set; }

    /// <summary>
    /// True from the moment that a call's descriptor is known to the program: Linux makes that the last step, after which nothing fails.
    /// </summary>
    internal bool IsCommitted { get; set; }

    /// <summary>Asked before everything that can fail.</summary>
    internal bool MustFail() => Volatile.Read(ref _left) != 0 && !IsCommitted && Interlocked.Decrement(ref _left) == 0;
}
