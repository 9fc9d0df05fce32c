using IommuFd;

namespace RfcFlows;

/// <summary>
/// RFC v2 4.3: as 4.2, but the VMM only says which GIOVA leads to which GPA; both levels are merged below it, and the memory is pinned and counted
/// once.
/// </summary>
internal static class SoftwareNesting
{
    public static void Run(FlowRun run)
    {
        IommuContext iommu = run.Open();
        FlowDevice dev1 = run.Bind(iommu, run.Machine.Device1, cookie: 1);
        FlowDevice dev2 = run.Bind(iommu, run.Machine.Device2, cookie: 2);
        IoAddressSpace gpa = run.Allocate(iommu, "gpa");
        run.Attach(dev1, gpa);
        run.Attach(dev2, gpa);
        run.Map(gpa, run.Ram, iova: 0);
        run.Sees(dev2, iova: 0x1000, run.RamWord(0x1000));

        // The guest switches its IOMMU on for dev2, which stays attached to gpa: the child takes over.
        ChildAddressSpace giova = run.AllocateChild(gpa, "giova");
        Attachment nested = run.Attach(dev2, giova);
        run.Map(giova, iova: 0x2000, parentIova: 0x1000, length: 0x1000);
        run.Map(giova, iova: FlowRun.Mailbox, parentIova: FlowRun.Mailbox, length: 0x1000);
        run.Sees(dev2, iova: 0x2000, run.RamWord(0x1000));
        run.SeesNothing(dev2, iova: 0x1000);

        // The parent changes below the child: seen at once, in both directions.
        run.Map(giova, iova: 0x3000, parentIova: FlowRun.HotPlugged, length: 0x1000);
        run.SeesNothing(dev2, iova: 0x3000);
        Mapping more = run.Map(gpa, run.MoreRam, iova: FlowRun.HotPlugged);
        run.Sees(dev2, iova: 0x3000, run.MoreRamWord(0));
        run.Unmap(gpa, more);
        run.SeesNothing(dev2, iova: 0x3000);

        // The guest switches its IOMMU off again.
        run.Detach(dev2, nested);
        run.Sees(dev2, iova: 0x1000, run.RamWord(0x1000));
        run.Sees(dev1, iova: 0x1000, run.RamWord(0x1000));
    }
}
