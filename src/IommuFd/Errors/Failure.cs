using System.Diagnostics.CodeAnalysis;

namespace IommuFd;

/// <summary>The edge between results and exceptions.</summary>
internal static class Failure
{
    /// <summary>The exception for a failed operation, its cause taken from the table.</summary>
    internal static IommuFdException Of(string operation, int result, params ReadOnlySpan<Evidence> evidence)
    {
        int errno = Math.Abs(result);
        return new IommuFdException(operation, errno, ErrorCauses.Find(operation, errno), evidence.ToArray());
    }

    /// <summary>The exception for a failed operation whose cause was found by looking at the machine.</summary>
    internal static IommuFdException Because(string operation, int result, FailureCause cause, string explanation, string remedy,
        params ReadOnlySpan<Evidence> evidence) =>
        new(operation, Math.Abs(result), new ErrorCause(cause, explanation, remedy), evidence.ToArray());

    /// <summary>The same cause as the table's row for <paramref name="row"/>, shown under another name: opening by path.</summary>
    internal static IommuFdException Like(string row, string operation, int result, params ReadOnlySpan<Evidence> evidence)
    {
        int errno = Math.Abs(result);
        return new IommuFdException(operation, errno, ErrorCauses.Find(row, errno), evidence.ToArray());
    }

    /// <summary>Returns a result that is one, and throws for -errno.</summary>
    internal static int Check(int result, string operation) => result >= 0 ? result : Throw(operation, result);

    [DoesNotReturn]
    private static int Throw(string operation, int result) => throw Of(operation, result);
}
