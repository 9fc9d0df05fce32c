using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

// The device table (section 2.2.2) and the GCR3 table (2.2.6.3).
public sealed partial class AmdViUnit
{
    private const ulong GuestSpace = 1UL << 40;

    private AmdFault FindContext(in DmaRequest request, out AmdContext? context)
    {
        context = null;
        var table = Registers[AmdRegister.DEV_TAB_BASE];
        var bytes = ((table & 0x1FF) + 1) * 4096;
        var offset = request.RequesterId * 32UL;
        if (offset >= bytes)
            return new AmdFault(AmdEvent.ILLEGAL_DEV_TABLE_ENTRY);
        var at = (table & 0x000F_FFFF_FFFF_F000) + offset;
        if (!Memory.Read64(at, out var q0) || !Memory.Read64(at + 8, out var q1) || !Memory.Read64(at + 16, out var q2))
            return new AmdFault(AmdEvent.DEV_TAB_HARDWARE_ERROR, 0, at);
        if ((q0 & 1) == 0)
        {
            ReadOnlySpan<ulong> none = [request.RequesterId | ((ulong)request.Pasid << 32), 0, 0, 0, 0];
            context = _knownContexts.Find(none)
                ?? _knownContexts.Add(none, new AmdContext { DeviceId = request.RequesterId, Pasid = request.Pasid, Passes = true });
            return default;
        }

        var mode = (int)(q0 >> 9 & 7);
        var guest = (q0 & 1UL << 55) != 0;
        var glx = (int)(q0 >> 56 & 3);
        var had = (int)(q0 >> 7 & 3);
        if ((q0 & (0x7CUL | 1UL << 63)) != 0 || (q0 & 2) != 0
            && (mode == 7 || mode > _options.HostLevels || glx >= _options.GcrLevels || (guest && !_options.GuestTranslation)
            || had == 1 || (had != 0 && !_options.HostAccessedDirty)))
            return new AmdFault(AmdEvent.ILLEGAL_DEV_TABLE_ENTRY);

        var domain = (ushort)q1;
        var hostRoot = q0 & 0x000F_FFFF_FFFF_F000;
        // Without TV the fields of translation mean nothing: Mode can hold anything.
        var host = (q0 & 2) != 0 && mode != 0;
        var geometry = host ? AmdV1.Geometry(mode, Memory.Options.AddressBits) : default;
        var rules = had == 3 ? WalkAccess.UpdateAccessedDirty : 0;
        var hasPasid = request.Pasid != DmaRequest.NoPasid;
        var useGuest = guest && (hasPasid || (q0 & 1UL << 54) != 0);
        var pasid = hasPasid ? request.Pasid : 0;
        ulong guestRoot = 0;
        var fault = hasPasid && !guest ? new AmdFault(AmdEvent.INVALID_DEVICE_REQUEST) : default;
        if (useGuest && (q0 & 2) != 0)
        {
            var gcr3 = (q0 >> 58 & 7) << 12 | (q1 >> 16 & 0xFFFF) << 15 | (q1 >> 43 & 0x1F_FFFF) << 31;
            fault = FindGuestRoot(gcr3, glx, pasid, host, geometry, hostRoot, rules, out guestRoot);
        }

        // With SE the object itself tells whether a fault was recorded since the entry was read.
        ReadOnlySpan<ulong> words = [request.RequesterId | ((ulong)request.Pasid << 32), q0, q1, q2, guestRoot];
        context = _knownContexts.Find(words);
        if (context is { SuppressFurther: false })
            return fault;
        context = _knownContexts.Add(words, new AmdContext
        {
            DeviceId = request.RequesterId,
            Pasid = request.Pasid,
            Blocks = (q0 & 2) == 0,
            DomainId = domain,
            Host = host,
            HostTable = host ? DirectTable.Of<AmdV1>(Memory, geometry, hostRoot, rules) : default,
            HostRules = rules,
            Permitted = ((q0 & 1UL << 61) != 0 ? DmaAccess.Read : 0) | ((q0 & 1UL << 62) != 0 ? DmaAccess.Write : 0),
            Guest = useGuest,
            GuestTable = useGuest ? GuestTable(q2, host, guestRoot) : default,
            DeviceTlb = (q1 & 1UL << 32) != 0,
            PageRequests = (q0 & 1UL << 52) != 0,
            SuppressFurther = (q1 & 1UL << 33) != 0,
            SuppressAll = (q1 & 1UL << 34) != 0,
            Space = domain | (useGuest ? ((ulong)pasid + 1) << 16 | GuestSpace : 0),
        });
        return fault;
    }

    private DirectTable GuestTable(ulong q2, bool host, ulong root)
    {
        var geometry = X64.Geometry((q2 >> 54 & 3) == 1 && _options.GuestLevels == 5 ? 57 : 48, Memory.Options.AddressBits);
        return host ? DirectTable.Nested<X64>(Memory, geometry, root, WalkAccess.UpdateAccessedDirty)
            : DirectTable.Of<X64>(Memory, geometry, root, WalkAccess.UpdateAccessedDirty);
    }

    // One to three levels of 512 entries; with host translation the table is at guest physical addresses.
    private AmdFault FindGuestRoot(
        ulong table, int glx, uint pasid, bool host, in PageTableGeometry geometry, ulong hostRoot, WalkAccess rules, out ulong root)
    {
        root = 0;
        if ((ulong)pasid >> (9 * (glx + 1)) != 0)
            return new AmdFault(AmdEvent.IO_PAGE_FAULT);
        for (var level = glx; level >= 0; level--)
        {
            var at = table + ((pasid >> (9 * level) & 0x1FF) * 8);
            if (host)
            {
                var reader = new DirectTableReader(Memory);
                if (!TableWalk.Walk<AmdV1, DirectTableReader>(geometry, hostRoot, ref reader, at, WalkAccess.Read | rules, out var second))
                    return PageFault(second);
                at = second.Output;
            }

            if (!Memory.Read64(at, out var entry))
                return new AmdFault(AmdEvent.PAGE_TAB_HARDWARE_ERROR, 0, at);
            if ((entry & 1) == 0)
                return new AmdFault(AmdEvent.IO_PAGE_FAULT);
            if ((entry & 0xFFF0_0000_0000_0FFE) != 0)
                return new AmdFault(AmdEvent.IO_PAGE_FAULT, AmdFault.Present | AmdFault.Reserved);
            table = entry & 0x000F_FFFF_FFFF_F000;
        }

        root = table;
        return default;
    }
}
