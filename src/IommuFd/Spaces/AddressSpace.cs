namespace IommuFd;

/// <summary>
/// One I/O address space of any kind, the proposal's IOASID: one handle for the space and its page table. It takes effect where a device is attached
/// to it, with or without a PASID; N devices and M spaces in both directions.
/// </summary>
public abstract class AddressSpace : Resource
{
    private protected AddressSpace(IommuContext context, Resource outer, AddressSpace? parent, Resource? inner = null)
        : base(outer, inner)
    {
        Context = context;
        Parent = parent;
    }

    /// <summary>The context it belongs to.</summary>
    public IommuContext Context { get; }

    /// <summary>The space that translates the output addresses of this one; null for a root.</summary>
    public AddressSpace? Parent { get; }

    /// <summary>Who owns its page table.</summary>
    public abstract SpaceKind Kind { get; }

    /// <summary>How many spaces are above it: 0 for a root.</summary>
    public int Depth => Parent is null ? 0 : Parent.Depth + 1;

    /// <summary>Whether <paramref name="other"/> is above this one.</summary>
    internal bool IsBelow(AddressSpace other)
    {
        for (AddressSpace? above = Parent; above is not null; above = above.Parent)
        {
            if (above == other)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Puts the device's DMA through this space, in place of what was attached. Returns the kernel's id of the table in effect.</summary>
    /// <exception cref="IommuFdException">The kernel or the device's IOMMU refuses.</exception>
    internal abstract uint Install(BoundDevice device, uint? pasid);

    /// <summary>A device came or went: what may be mapped has changed.</summary>
    internal virtual void RangesChanged()
    {
    }
}
