namespace IommuFd.HwSim.Kernel;

/// <summary>The parts of <see cref="IoptPages"/> that most do not need. It stands before the source of those that do.</summary>
internal sealed class IoptPagesExtra(IPageSource source) : IPageSource
{
    /// <summary>How often each page is used; null while all pages are used by one area or by none.</summary>
    internal CoverCount? Cover;

    /// <summary>For IOMMU_IOAS_MAP_FILE: the file, with a mapping of it in this process.</summary>
    internal FilePages? File => source as FilePages;

    /// <summary>For a dma-buf: the exporter's memory.</summary>
    internal DmaBufPages? DmaBuf { get; init; }

    /// <inheritdoc/>
    public SimulatedProcess Process => source.Process;

    /// <inheritdoc/>
    public IUserMemory? User => source.User;

    /// <inheritdoc/>
    public int Pin(ulong address, ulong length, bool writable) => source.Pin(address, length, writable);

    /// <inheritdoc/>
    public void Unpin(ulong address, ulong length) => source.Unpin(address, length);

    /// <inheritdoc/>
    public nint HostAddress(ulong address, ref ulong length) => source.HostAddress(address, ref length);

    internal void Release(IoptPages pages)
    {
        File?.Close();
        DmaBuf?.Close(pages);
    }
}
