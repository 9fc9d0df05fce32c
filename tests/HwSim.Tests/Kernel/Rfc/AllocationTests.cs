using Xunit;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Mapping and unmapping are hot paths: they allocate nothing once the pools are warm.</summary>
public sealed class AllocationTests
{
    private const ulong Page = RfcMachine.Page;

    [Fact]
    public void Map_and_unmap_of_a_root_and_of_a_shadow_allocate_nothing()
    {
        using var machine = new RfcMachine();
        int iommu = machine.OpenIommu(), device = machine.OpenBound(RfcMachine.Edu, iommu, 1), gpa = machine.Alloc(iommu),
            giova = machine.Alloc(iommu, gpa);
        ulong memory = machine.Memory(16 * Page);
        Assert.Equal(0, machine.Attach(device, iommu, giova));
        Assert.Equal(0, machine.Map(iommu, giova, 0x10_0000, 0, 16 * Page));
        for (int round = 0; ; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 100; i++)
            {
                machine.Map(iommu, gpa, 0, memory, 16 * Page);
                machine.Unmap(iommu, giova, 0x10_0000, 16 * Page);
                machine.Map(iommu, giova, 0x10_0000, 0, 16 * Page);
                machine.Unmap(iommu, gpa, 0, 16 * Page);
            }

            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            if (allocated == 0)
            {
                return;
            }

            Assert.True(round < 5, $"{allocated / 100.0} bytes a round");
        }
    }
}
