namespace IommuFd.HwSim.Kernel;

/// <summary>An I/O address space (struct iommufd_ioas): an IOVA map and the hardware page tables that were made from it.</summary>
internal sealed class IommufdIoas : IommufdObject
{
    internal IommufdIoas(IommufdContext context)
        : base(IommufdObjectType.Ioas) => Pagetable = new IoPagetable(context);

    internal IoPagetable Pagetable { get; }

    /// <summary>Guards <see cref="Hwpts"/> and the making of a table until it is published.</summary>
    internal Lock Mutex { get; } = new();

    /// <summary>Tables that are filled from this address space, oldest first.</summary>
    internal List<HwptPaging> Hwpts { get; } = [];

    internal override void Destroy()
    {
        _ = Pagetable.UnmapAll(out _);
    }
}
