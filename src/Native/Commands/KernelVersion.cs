namespace IommuFd.Native;

/// <summary>A release of the Linux kernel, such as 6.13.</summary>
/// <param name="Major">First number.</param>
/// <param name="Minor">Second number.</param>
public readonly record struct KernelVersion(int Major, int Minor) : IComparable<KernelVersion>
{
    /// <summary>Orders releases by age.</summary>
    /// <param name="other">Release to compare with.</param>
    /// <returns>Less than 0 when this release is older, 0 when it is the same, more than 0 when it is newer.</returns>
    public int CompareTo(KernelVersion other) => (Major, Minor).CompareTo((other.Major, other.Minor));

    /// <summary>Reads the two leading numbers of a release string as in /proc/sys/kernel/osrelease, such as <c>6.13.2-amd64</c>.</summary>
    /// <param name="release">The string.</param>
    /// <param name="version">The release.</param>
    /// <returns>False when the string does not start with two numbers.</returns>
    public static bool TryParse(string release, out KernelVersion version)
    {
        ArgumentNullException.ThrowIfNull(release);
        version = default;
        string[] parts = release.Split('.', 3);
        if (parts.Length < 2 || !int.TryParse(parts[0], out int major))
        {
            return false;
        }

        int digits = 0;
        while (digits < parts[1].Length && char.IsAsciiDigit(parts[1][digits]))
        {
            digits++;
        }

        if (!int.TryParse(parts[1][..digits], out int minor))
        {
            return false;
        }

        version = new KernelVersion(major, minor);
        return true;
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Major}.{Minor}";

    /// <summary>True when <paramref name="left"/> is older.</summary>
    /// <param name="left">A release.</param>
    /// <param name="right">Another.</param>
    public static bool operator <(KernelVersion left, KernelVersion right) => left.CompareTo(right) < 0;

    /// <summary>True when <paramref name="left"/> is newer.</summary>
    /// <param name="left">A release.</param>
    /// <param name="right">Another.</param>
    public static bool operator >(KernelVersion left, KernelVersion right) => left.CompareTo(right) > 0;

    /// <summary>True when <paramref name="left"/> is not newer.</summary>
    /// <param name="left">A release.</param>
    /// <param name="right">Another.</param>
    public static bool operator <=(KernelVersion left, KernelVersion right) => left.CompareTo(right) <= 0;

    /// <summary>True when <paramref name="left"/> is not older.</summary>
    /// <param name="left">A release.</param>
    /// <param name="right">Another.</param>
    public static bool operator >=(KernelVersion left, KernelVersion right) => left.CompareTo(right) >= 0;
}
