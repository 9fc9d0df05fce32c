namespace IommuFd.HwSim.Kernel;

/// <summary>Where the pages of a mapping come from: a process, or a file.</summary>
/// <remarks>Any number of threads may call. Addresses are user addresses or, for a file, offsets.</remarks>
public interface IPageSource
{
    /// <summary>The process whose memory this is, or that mapped the file: it pays for pinned pages.</summary>
    SimulatedProcess Process { get; }

    /// <summary>The process's memory, when the pages are its own; null for a file's.</summary>
    IUserMemory? User => null;

    /// <summary>
    /// pin_user_pages: makes the pages of [<paramref name="address"/>, + <paramref name="length"/>) present and keeps them reachable through
    /// <see cref="HostAddress"/> until <see cref="Unpin"/>.
    /// </summary>
    /// <param name="address">User address, a multiple of the page size.</param>
    /// <param name="length">Bytes, a multiple of the page size, at least one page.</param>
    /// <param name="writable">True when the pages are going to be written.</param>
    /// <returns>0, or -EFAULT when a page is missing or does not permit the access; then nothing is pinned.</returns>
    int Pin(ulong address, ulong length, bool writable);

    /// <summary>Takes back a <see cref="Pin"/> of the range, or of a part of what was pinned.</summary>
    void Unpin(ulong address, ulong length);

    /// <summary>Where pinned memory is reachable in this process.</summary>
    /// <param name="address">A pinned user address, any alignment.</param>
    /// <param name="length">In: bytes of interest. Out: how many of them are contiguous from there, at least 1.</param>
    /// <returns>The address in this process.</returns>
    nint HostAddress(ulong address, ref ulong length);
}

/// <summary>
/// Memory of the calling process as the kernel sees it: copy_from_user, copy_to_user and page pinning. The simulated kernel never dereferences a user
/// address in any other way, so a wild pointer is -EFAULT and never a crash.
/// </summary>
public unsafe interface IUserMemory : IPageSource
{
    IUserMemory IPageSource.User => this;

    /// <summary>copy_from_user: all of <paramref name="length"/> bytes at user <paramref name="address"/>, or -EFAULT.</summary>
    int CopyFrom(ulong address, void* destination, nuint length);

    /// <summary>copy_to_user: all of <paramref name="length"/> bytes to user <paramref name="address"/>, or -EFAULT.</summary>
    int CopyTo(ulong address, void* source, nuint length);

    /// <summary>
    /// Where pages of a range are to be pinned from. Whoever pins asks once and keeps to the answer, whatever becomes of the range.
    /// </summary>
    /// <param name="address">User address.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="withDevices">For vfio_iommu_type1, which also maps a device's registers that the process has mapped; for iommufd they are
    /// -EFAULT.</param>
    IPageSource PagesAt(ulong address, ulong length, bool withDevices) => this;
}
