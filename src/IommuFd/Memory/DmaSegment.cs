namespace IommuFd;

/// <summary>A piece of memory as a device sees it: an element of a scatter list.</summary>
/// <param name="Iova">The device's address of the first byte.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct DmaSegment(ulong Iova, ulong Length);
