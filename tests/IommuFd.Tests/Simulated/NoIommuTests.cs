namespace IommuFd.Tests;

/// <summary>A machine without an IOMMU, with VFIO's unsafe mode: the same types, and physical addresses instead of protection.</summary>
public sealed class NoIommuTests
{
    [Fact]
    public void A_device_is_bound_and_the_kernel_tells_physical_addresses()
    {
        using Simulated machine = new("noiommu");
        using IommuContext context = machine.Host.OpenContext(ContextKind.Iommufd);
        using BoundDevice device = machine.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        using Ioas ioas = context.AllocateIoas();
        uint table = device.Calls.Attach(ioas.Id);
        Assert.NotEqual(0u, table);
        using DmaBuffer buffer = machine.Host.AllocateBuffer(16 * 4096);
        ulong iova = ioas.Map(buffer.Address, buffer.Length, DmaAccess.ReadWrite);
        ulong physical = ioas.GetNoIommuPhysicalAddress(iova + 0x1008, 8, out ulong contiguous);
        Assert.InRange(contiguous, 8u, buffer.Length);
        Assert.Equal(8u, physical & 0xfff);

        // The device's DMA is not translated: it takes the physical address.
        using ConfigSpace config = device.OpenConfigSpace();
        config.EnableBusMaster();
        using Bar edu = device.OpenBar(0);
        buffer.At<ulong>(0x1008) = 0xfeed;
        edu.Write64(0x80, physical);
        edu.Write64(0x88, 0x40000);
        edu.Write64(0x90, 8);
        edu.Write64(0x98, 1);
        _ = edu.Read64(0x98);
        edu.Write64(0x80, 0x40000);
        edu.Write64(0x88, physical + 0x10);
        edu.Write64(0x98, 3);
        Assert.Equal(0xfeedul, buffer.At<ulong>(0x1018));
        _ = ioas.Unmap(iova, buffer.Length);
    }

    [Fact]
    public void Where_there_is_an_IOMMU_physical_addresses_are_nobody_s_business()
    {
        using Simulated machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        using IoAddressSpace space = context.CreateAddressSpace();
        using Attachment attachment = device.Attach(space);
        using DmaBuffer buffer = machine.Host.AllocateBuffer(4096);
        using Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);
        Assert.Equal(
            FailureCause.NotSupported, Assert.Throws<IommuFdException>(() => space.Ioas.GetNoIommuPhysicalAddress(mapping.Iova, 8, out _)).Cause);
    }
}
