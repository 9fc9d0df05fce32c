namespace IommuFd;

/// <summary>
/// A device's DMA reaching an address space or going through a page table. Disposing it puts the device back to what it was attached to before, when
/// that is not disposed (the parent, after a child), and else to block-DMA; never to the host's own domain.
/// </summary>
public sealed class Attachment : Resource
{
    internal Attachment(BoundDevice device, Resource target, uint? pasid)
        : base(device, target)
    {
        Device = device;
        Target = target;
        Pasid = pasid;
    }

    /// <summary>The device.</summary>
    public BoundDevice Device { get; }

    /// <summary>The address space, when one was attached.</summary>
    public AddressSpace? Space => Target as AddressSpace;

    /// <summary>The hardware page table, when one was attached.</summary>
    public HardwareTable? Table => Target as HardwareTable;

    /// <summary>
    /// The kernel's id of the page table that this attachment put into effect; 0 over containers, and while a child of the space is in effect.
    /// </summary>
    public uint TableId { get; internal set; }

    /// <summary>The PASID whose DMA reaches the space, or null for DMA without one.</summary>
    public uint? Pasid { get; }

    internal Resource Target { get; }

    private protected override void Free()
    {
        Device.Detach(this);
        Space?.RangesChanged(); // those that the device reserved are free again
    }
}
