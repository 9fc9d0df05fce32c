using IommuFd;

namespace RfcFlows;

/// <content>Tables of the guest, and page faults.</content>
public sealed partial class FlowRun
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    /// <summary>An empty table in the guest's memory, in a format that the device's IOMMU takes (the capability query by cookie).</summary>
    internal GuestTable Guest(FlowDevice device, ulong at)
    {
        DeviceCapabilities capabilities = device.Device.GetCapabilities();
        UserTableFormat[] known =
            [.. capabilities.UserTables.Where(static format => format is UserTableFormat.VtdFirstStage or UserTableFormat.ArmContextDescriptors)];
        Step("IOMMU_DEVICE_GET_INFO", $"{device.Name}: nesting {capabilities.Nesting}; tables "
            + $"{(capabilities.UserTables.Count == 0 ? "none" : string.Join(", ", capabilities.UserTables))}; PASIDs of {capabilities.PasidWidth} "
            + "bits");
        return known.Length == 0
            ? throw new NotSupportedException(
                $"The IOMMU of {device.Device.Address} takes no table that this flow can write: nesting {capabilities.Nesting}.")
            : new GuestTable(Ram, at, known[0]);
    }

    internal void GuestMaps(GuestTable table, ulong address, ulong gpa)
    {
        table.Map(address, gpa);
        Step("guest", $"table at gpa 0x{table.Table.Address:x}: 0x{address:x} -> gpa 0x{gpa:x}");
    }

    /// <summary>Whether the PASID table of the device is the guest's too.</summary>
    internal static bool Delegates(FlowDevice device) => device.Device.GetCapabilities().DelegatesPasids;

    internal GuestPasidTable GuestPasids(ulong at) => new(Ram, at);

    internal void GuestBinds(GuestPasidTable pasids, uint pasid, GuestTable? table)
    {
        pasids.Bind(pasid, table);
        Step("guest", $"PASID table at gpa 0x{pasids.Table.Address:x}: PASID {pasid} -> "
            + $"{(table is null ? "nothing" : $"table at gpa 0x{table.Table.Address:x}")}");
    }

    internal UserTableSpace AllocateUserTable(MappedAddressSpace parent, string name, GuestTable table, bool faults = false) =>
        AllocateUserTable(parent, name, table.Table, faults);

    internal UserTableSpace AllocateUserTable(MappedAddressSpace parent, string name, GuestPasidTable table) =>
        AllocateUserTable(parent, name, table.Table, faults: false);

    internal void Invalidate(UserTableSpace space, ulong address, ulong length, uint? pasid = null)
    {
        space.Invalidate(address, length, pasid);
        Step("IOMMU_INVALIDATE_CACHE", $"{_names[space]}{Pasid(pasid)}: 0x{address:x}, 0x{length:x} bytes");
    }

    internal void InvalidatePasid(UserTableSpace space, uint pasid)
    {
        space.InvalidatePasid(pasid);
        Step("IOMMU_INVALIDATE_CACHE", $"{_names[space]}{Pasid(pasid)}: its entry");
    }

    internal void Begins(FlowDevice device, ulong iova, uint? pasid)
    {
        if (device.Probe is PasidProbe probe)
        {
            probe.AsksForPages = true;
        }

        device.Probe.Begin(iova, pasid);
        Step("DMA", $"{device.Name}{Pasid(pasid)} begins to read 0x{iova:x}");
    }

    internal PageRequest Reported(UserTableSpace space, ulong cookie, uint? pasid, ulong address)
    {
        PageRequest request = space.Faults!.ReadRequest(s_patience) ?? throw new FlowException($"No page request came from {_names[space]}.");
        Step("fault", $"{_names[space]}: cookie 0x{request.Cookie:x}{Pasid(request.Pasid)} asks for 0x{request.Pages[0].Address:x}");
        return request.Cookie == cookie && request.Pasid == pasid && request.Pages[0].Address == address
            ? request
            : throw new FlowException(
                $"The page request was of cookie 0x{request.Cookie:x}{Pasid(request.Pasid)} for 0x{request.Pages[0].Address:x}, and should have "
                + $"been of 0x{cookie:x}{Pasid(pasid)} for 0x{address:x}.");
    }

    internal void Complete(PageRequest request)
    {
        request.Complete();
        Step("fault completion", $"cookie 0x{request.Cookie:x}: success");
    }

    internal void Refuse(PageRequest request)
    {
        request.Refuse();
        Step("fault completion", $"cookie 0x{request.Cookie:x}: invalid");
    }

    internal void Ends(FlowDevice device, ulong iova, ulong? expected, uint? pasid) => Check(device, iova, pasid, expected);

    private UserTableSpace AllocateUserTable(MappedAddressSpace parent, string name, UserTable table, bool faults)
    {
        UserTableSpace space = Own(parent.CreateUserTable(table, faults));
        _names[space] = name;
        Step("IOMMU_IOASID_ALLOC", $"{name} = child of {_names[parent]}, table of the guest at gpa 0x{table.Address:x}, "
            + $"{table.Format}{(faults ? ", page faults" : "")}");
        return space;
    }
}
