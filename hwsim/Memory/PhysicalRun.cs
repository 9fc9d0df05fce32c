namespace IommuFd.HwSim;

/// <summary>A physically contiguous piece of pinned user memory.</summary>
/// <param name="Address">Physical address of the first byte.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct PhysicalRun(ulong Address, ulong Length);
