using IommuFd;

namespace RfcFlows;

/// <summary>RFC v2 4.6: a device asks for a page that the guest process has not touched yet; the guest makes it present and answers.</summary>
internal static class PageFaults
{
    public static void Run(FlowRun run)
    {
        IommuContext iommu = run.Open();
        FlowDevice dev1 = run.Bind(iommu, run.Machine.PasidDevice, cookie: 0xd1);
        IoAddressSpace gpa = run.Allocate(iommu, "gpa");
        run.Attach(dev1, gpa);
        run.Map(gpa, run.Ram, iova: 0);
        GuestTable process = run.Guest(dev1, at: 0x10_0000);
        run.GuestMaps(process, 0x7f00_0000_1000, gpa: 0x3000);
        UserTableSpace gva = run.AllocateUserTable(gpa, "gva", process, faults: true);
        run.Attach(dev1, gva, pasid: 5);
        run.Sees(dev1, iova: 0x7f00_0000_1000, run.RamWord(0x3000), pasid: 5);

        // 1 to 4: the device asks, the kernel reports {space, cookie, address}; the VMM knows the virtual device by the cookie, and the PASID by the
        // space.
        run.Begins(dev1, iova: 0x7f00_0000_2000, pasid: 5);
        using (PageRequest request = run.Reported(gva, cookie: 0xd1, pasid: 5, address: 0x7f00_0000_2000))
        {
            // 5 to 8: the guest maps the page and answers, the VMM completes, the device goes on.
            run.GuestMaps(process, 0x7f00_0000_2000, gpa: 0x4000);
            run.Complete(request);
        }

        run.Ends(dev1, iova: 0x7f00_0000_2000, run.RamWord(0x4000), pasid: 5);

        // An answer may also be no.
        run.Begins(dev1, iova: 0x7f00_0000_3000, pasid: 5);
        using (PageRequest request = run.Reported(gva, cookie: 0xd1, pasid: 5, address: 0x7f00_0000_3000))
        {
            run.Refuse(request);
        }

        run.Ends(dev1, iova: 0x7f00_0000_3000, expected: null, pasid: 5);
    }
}
