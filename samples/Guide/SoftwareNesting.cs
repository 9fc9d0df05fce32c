using IommuFd;

namespace Guide;

/// <summary>A guest's address space on top of the one of its memory.</summary>
public static class SoftwareNesting
{
    /// <summary>Lets the device's DMA go through the guest's space, for as long as it takes.</summary>
    /// <param name="context">The context.</param>
    /// <param name="device">The device.</param>
    /// <param name="memory">The guest's memory, at least 8 KiB.</param>
    /// <param name="whileNested">What happens meanwhile: the device sees the guest's second page at 0x2000.</param>
    public static void Run(IommuContext context, BoundDevice device, DmaBuffer memory, Action whileNested)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(whileNested);
        using IoAddressSpace gpa = context.CreateAddressSpace();                   // the guest's memory
        using Mapping ram = gpa.MapFixed(memory, DmaAccess.ReadWrite, iova: 0);
        using Attachment boot = device.Attach(gpa);
        using ChildAddressSpace giova = gpa.CreateChild();                         // the guest switches its IOMMU on
        using Attachment nested = device.Attach(giova);                            // takes over; its disposal gives back to gpa
        using NestedMapping mapping = giova.Map(0x2000, parentIova: 0x1000, 0x1000, DmaAccess.ReadWrite);
        whileNested();
    }
}
