using IommuFd.Native;

namespace IommuFd;

/// <summary>A refused operation: what was asked, the kernel's number, what it means here, what shows it, and what to do about it.</summary>
#pragma warning disable CA1032 // always made from an operation and an errno
public sealed class IommuFdException : Exception
#pragma warning restore CA1032
{
    internal IommuFdException(string operation, int errno, ErrorCause row, IReadOnlyList<Evidence> evidence)
        : base(Sentence(operation, errno, row, evidence))
    {
        Operation = operation;
        Errno = errno;
        Cause = row.Cause;
        Explanation = row.Explanation;
        Remedy = row.Remedy;
        Evidence = evidence;
        HResult = errno;
    }

    /// <summary>The command or call that failed, in the kernel's words: <c>IOMMU_IOAS_MAP</c>, <c>open /dev/iommu</c>.</summary>
    public string Operation { get; }

    /// <summary>The positive error number, see <see cref="Native.Errno"/>.</summary>
    public int Errno { get; }

    /// <summary>The error number's name, such as <c>EBUSY</c>.</summary>
    public string ErrnoName => Native.Errno.Name(Errno);

    /// <summary>What the number means for this operation.</summary>
    public FailureCause Cause { get; }

    /// <summary>The cause as a sentence.</summary>
    public string Explanation { get; }

    /// <summary>What shows it.</summary>
    public IReadOnlyList<Evidence> Evidence { get; }

    /// <summary>What to do, as a sentence; empty when nothing general helps.</summary>
    public string Remedy { get; }

    private static string Sentence(string operation, int errno, ErrorCause row, IReadOnlyList<Evidence> evidence)
    {
        string shown = evidence.Count == 0 ? "" : $" ({string.Join(", ", evidence)})";
        string remedy = row.Remedy.Length == 0 ? "" : $" {row.Remedy}";
        return $"{operation}: {Native.Errno.Name(errno)}: {row.Explanation}{shown}.{remedy}";
    }
}
