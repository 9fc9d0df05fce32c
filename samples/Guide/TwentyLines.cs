using IommuFd;
using IommuFd.Sysfs;

namespace Guide;

/// <summary>Chapter 1: a device's register and memory that it can reach.</summary>
public static class TwentyLines
{
    /// <summary>Opens, binds, attaches, maps and reads.</summary>
    public static string Run(IommuHost host)
    {
        ArgumentNullException.ThrowIfNull(host);
        using IommuContext context = host.OpenContext();                          // /dev/iommu
        using VfioDeviceFile file = host.OpenDevice(PciAddress.Parse("0000:00:04.0"));
        using BoundDevice device = file.Bind(context, cookie: 1);                 // the whole IOMMU group is blocked from now on
        using IoAddressSpace space = context.CreateAddressSpace();
        using Attachment attachment = device.Attach(space);                       // DMA reaches the space
        using DmaBuffer buffer = host.AllocateBuffer(4096);
        using Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);           // the kernel chooses mapping.Iova
        using ConfigSpace config = device.OpenConfigSpace();
        config.EnableBusMaster();                                                 // VFIO leaves it off
        using Bar bar = device.OpenBar(0);
        return $"register 0: 0x{bar.Read32(0):x8}, buffer at IOVA 0x{mapping.Iova:x}";
    }
}
