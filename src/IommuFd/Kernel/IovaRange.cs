namespace IommuFd;

/// <summary>A range of IOVAs, both ends inclusive as in the kernel, so that it can reach the top of the address space.</summary>
/// <param name="Start">The first IOVA.</param>
/// <param name="Last">The last IOVA, &gt;= <paramref name="Start"/>.</param>
public readonly record struct IovaRange(ulong Start, ulong Last)
{
    /// <summary>Whether <paramref name="length"/> bytes at <paramref name="iova"/> lie inside.</summary>
    public bool Contains(ulong iova, ulong length) => length != 0 && iova >= Start && iova <= Last && length - 1 <= Last - iova;

    /// <summary>As <c>0x0-0xfedfffff</c>.</summary>
    public override string ToString() => $"0x{Start:x}-0x{Last:x}";
}
