using IommuFd;

namespace RfcFlows;

/// <summary>RFC v2 4.5: a guest process shares its page table with a device (vSVA): one space for each PASID, next to the default one. Where the
/// PASID table itself is the guest's, one space stands for all of them.</summary>
internal static class SharedVirtualAddresses
{
    public static void Run(FlowRun run)
    {
        IommuContext iommu = run.Open();
        FlowDevice dev1 = run.Bind(iommu, run.Machine.PasidDevice, cookie: 1);
        IoAddressSpace gpa = run.Allocate(iommu, "gpa");
        run.Attach(dev1, gpa);
        run.Map(gpa, run.Ram, iova: 0);
        run.Sees(dev1, iova: 0x1000, run.RamWord(0x1000));
        run.SeesNothing(dev1, iova: 0x7f00_0000_1000, pasid: 5);

        // Two processes of the guest bind their tables to PASIDs.
        GuestTable first = run.Guest(dev1, at: 0x10_0000), second = run.Guest(dev1, at: 0x11_0000);
        run.GuestMaps(first, 0x7f00_0000_1000, gpa: 0x3000);
        run.GuestMaps(second, 0x7f00_0000_1000, gpa: 0x4000);
        if (FlowRun.Delegates(dev1))
        {
            Delegated(run, dev1, gpa, first, second);
            return;
        }

        UserTableSpace gva1 = run.AllocateUserTable(gpa, "gva1", first), gva2 = run.AllocateUserTable(gpa, "gva2", second);
        Attachment a = run.Attach(dev1, gva1, pasid: 5);
        run.Attach(dev1, gva2, pasid: 6);
        run.Sees(dev1, iova: 0x7f00_0000_1000, run.RamWord(0x3000), pasid: 5);
        run.Sees(dev1, iova: 0x7f00_0000_1000, run.RamWord(0x4000), pasid: 6);
        run.SeesNothing(dev1, iova: 0x7f00_0000_1000, pasid: 7);
        run.Sees(dev1, iova: 0x1000, run.RamWord(0x1000)); // requests without PASID go on as before

        // A process changes its table; the guest invalidates that space alone.
        run.GuestMaps(first, 0x7f00_0000_1000, gpa: 0x5000);
        run.Invalidate(gva1, 0x7f00_0000_1000, 0x1000);
        run.Sees(dev1, iova: 0x7f00_0000_1000, run.RamWord(0x5000), pasid: 5);

        run.Detach(dev1, a);
        run.SeesNothing(dev1, iova: 0x7f00_0000_1000, pasid: 5);
        run.Sees(dev1, iova: 0x7f00_0000_1000, run.RamWord(0x4000), pasid: 6);
    }

    // One space stands for all PASIDs: no PASID at attach, the guest's PASID in invalidations. Requests without one use the table's first entry.
    private static void Delegated(FlowRun run, FlowDevice dev1, IoAddressSpace gpa, GuestTable first, GuestTable second)
    {
        GuestTable identity = run.Guest(dev1, at: 0x12_0000);
        run.GuestMaps(identity, 0x1000, gpa: 0x1000);
        GuestPasidTable pasids = run.GuestPasids(at: 0x13_0000);
        run.GuestBinds(pasids, 0, identity);
        run.GuestBinds(pasids, 5, first);
        run.GuestBinds(pasids, 6, second);
        UserTableSpace table = run.AllocateUserTable(gpa, "tbl", pasids);
        run.Attach(dev1, table);
        run.Sees(dev1, iova: 0x7f00_0000_1000, run.RamWord(0x3000), pasid: 5);
        run.Sees(dev1, iova: 0x7f00_0000_1000, run.RamWord(0x4000), pasid: 6);
        run.SeesNothing(dev1, iova: 0x7f00_0000_1000, pasid: 7);
        run.Sees(dev1, iova: 0x1000, run.RamWord(0x1000));

        run.GuestMaps(first, 0x7f00_0000_1000, gpa: 0x5000);
        run.Invalidate(table, 0x7f00_0000_1000, 0x1000, pasid: 5);
        run.Sees(dev1, iova: 0x7f00_0000_1000, run.RamWord(0x5000), pasid: 5);

        run.GuestBinds(pasids, 5, null);
        run.InvalidatePasid(table, 5);
        run.SeesNothing(dev1, iova: 0x7f00_0000_1000, pasid: 5);
        run.Sees(dev1, iova: 0x7f00_0000_1000, run.RamWord(0x4000), pasid: 6);
    }
}
