using IommuFd;

namespace RfcFlows;

/// <summary>RFC v2 4.1: a program, or a VMM whose guest has no IOMMU, with all its devices in one space.</summary>
internal static class SimpleSpace
{
    public static void Run(FlowRun run)
    {
        IommuContext iommu = run.Open();
        FlowDevice dev1 = run.Bind(iommu, run.Machine.Device1, cookie: 1);
        run.SeesNothing(dev1, iova: 0x1000); // bound: its DMA is blocked, it does not reach the host's memory

        IoAddressSpace gpa = run.Allocate(iommu, "gpa");
        run.Attach(dev1, gpa);
        Mapping ram = run.Map(gpa, run.Ram, iova: 0);
        run.Sees(dev1, iova: 0x1000, run.RamWord(0x1000));

        // Every further device: bind and attach; what is mapped is there.
        FlowDevice dev2 = run.Bind(iommu, run.Machine.Device2, cookie: 2);
        Attachment attached = run.Attach(dev2, gpa);
        run.Sees(dev2, iova: 0x1000, run.RamWord(0x1000));
        run.Sees(dev2, iova: 0x5008, run.RamWord(0x5008));

        run.Detach(dev2, attached);
        run.SeesNothing(dev2, iova: 0x1000);
        run.Unmap(gpa, ram);
        run.SeesNothing(dev1, iova: 0x1000);
    }
}
