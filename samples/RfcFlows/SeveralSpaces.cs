using IommuFd;

namespace RfcFlows;

/// <summary>
/// RFC v2 4.2: the guest switches its IOMMU on for one device; the VMM merges the guest's table with its own and maps the result in a second root.
/// </summary>
internal static class SeveralSpaces
{
    public static void Run(FlowRun run)
    {
        // At boot all devices are in the guest's physical address space.
        IommuContext iommu = run.Open();
        FlowDevice dev1 = run.Bind(iommu, run.Machine.Device1, cookie: 1);
        FlowDevice dev2 = run.Bind(iommu, run.Machine.Device2, cookie: 2);
        IoAddressSpace gpa = run.Allocate(iommu, "gpa");
        run.Attach(dev1, gpa);
        Attachment boot = run.Attach(dev2, gpa);
        run.Map(gpa, run.Ram, iova: 0);
        run.Sees(dev2, iova: 0x1000, run.RamWord(0x1000));

        // The guest switches its IOMMU on for dev2.
        IoAddressSpace giova = run.Allocate(iommu, "giova");
        run.Detach(dev2, boot);
        run.SeesNothing(dev2, iova: 0x1000);
        run.Attach(dev2, giova);

        // For each mapping of the guest, GIOVA 0x2000 -> GPA 0x1000, the VMM finds the memory itself.
        run.Map(giova, run.Ram, iova: 0x2000, offset: 0x1000, length: 0x1000);
        run.Map(giova, run.Ram, iova: FlowRun.Mailbox, offset: FlowRun.Mailbox, length: 0x1000);
        run.Sees(dev2, iova: 0x2000, run.RamWord(0x1000));
        run.SeesNothing(dev2, iova: 0x1000);
        run.Sees(dev1, iova: 0x1000, run.RamWord(0x1000));
    }
}
