namespace IommuFd;

/// <summary>A device's DMA reaching an address space or going through a page table. Disposing it puts the device back to block-DMA, never to the host's own domain.</summary>
public sealed class Attachment : Resource
{
    internal Attachment(BoundDevice device, Resource target, uint tableId, uint? pasid, IoAddressSpace? space)
        : base(device, target)
    {
        Device = device;
        Space = space;
        Table = target as HardwareTable;
        TableId = tableId;
        Pasid = pasid;
    }

    /// <summary>The device.</summary>
    public BoundDevice Device { get; }

    /// <summary>The address space, when one was attached.</summary>
    public IoAddressSpace? Space { get; }

    /// <summary>The hardware page table, when one was attached.</summary>
    public HardwareTable? Table { get; }

    /// <summary>The kernel's id of the page table in effect; 0 over containers.</summary>
    public uint TableId { get; }

    /// <summary>The PASID whose DMA reaches the space, or null for DMA without one.</summary>
    public uint? Pasid { get; }

    private protected override void Free()
    {
        Device.Detach(Pasid);
        try
        {
            Space?.Refresh(); // the ranges that the device reserved are free again
        }
        catch (IommuFdException)
        {
            // The space keeps its last answer; the next attach asks again.
        }
    }
}
