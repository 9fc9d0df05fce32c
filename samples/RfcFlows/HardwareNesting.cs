using IommuFd;

namespace RfcFlows;

/// <summary>RFC v2 4.4: as 4.3, but the guest's own table is walked: no mapping goes through the VMM, only the guest's invalidations do.</summary>
internal static class HardwareNesting
{
    public static void Run(FlowRun run)
    {
        IommuContext iommu = run.Open();
        FlowDevice dev2 = run.Bind(iommu, run.Machine.Device2, cookie: 2);
        IoAddressSpace gpa = run.Allocate(iommu, "gpa");
        run.Attach(dev2, gpa);
        run.Map(gpa, run.Ram, iova: 0);
        run.Sees(dev2, iova: 0x1000, run.RamWord(0x1000));

        // The guest writes a table into its memory and switches its IOMMU on for dev2.
        GuestTable guest = run.Guest(dev2, at: 0x10_0000);
        run.GuestMaps(guest, 0x2000, gpa: 0x1000);
        run.GuestMaps(guest, FlowRun.Mailbox, gpa: FlowRun.Mailbox);
        UserTableSpace giova = run.AllocateUserTable(gpa, "giova", guest);
        Attachment nested = run.Attach(dev2, giova); // stays on gpa too
        run.Sees(dev2, iova: 0x2000, run.RamWord(0x1000));
        run.SeesNothing(dev2, iova: 0x1000);

        // The guest changes its table, and says so to its IOMMU.
        run.GuestMaps(guest, 0x2000, gpa: 0x5000);
        run.GuestMaps(guest, 0x7000, gpa: 0x6000);
        run.Invalidate(giova, 0x2000, 0x6000);
        run.Sees(dev2, iova: 0x2000, run.RamWord(0x5000));
        run.Sees(dev2, iova: 0x7000, run.RamWord(0x6000));

        run.Detach(dev2, nested);
        run.Sees(dev2, iova: 0x1000, run.RamWord(0x1000));
    }
}
