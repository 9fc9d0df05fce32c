using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

// Scalable mode: data book section 3.4.3, entries in 9.2 (root), 9.4 (context), 9.5 (PASID directory), 9.6 (PASID table).
public sealed partial class VtdUnit
{
    private readonly VtdDevice?[] _devices = new VtdDevice?[ContextCacheSize];

    private static int DeviceIndex(ushort sourceId) => sourceId & (ContextCacheSize - 1);

    private VtdFaultReason ReadScalableContext(in DmaRequest request, out VtdContext? context, out bool faultsDisabled)
    {
        context = null;
        faultsDisabled = false;
        ref var slot = ref _devices[DeviceIndex(request.RequesterId)];
        var device = slot;
        if (device == null || device.SourceId != request.RequesterId)
        {
            var reason = ReadDevice(request.RequesterId, out device, out faultsDisabled);
            if (reason != VtdFaultReason.None)
                return reason;
            slot = device;
        }

        // The PASID cache is apart from the context cache: what it holds stays good for it until it is invalidated itself.
        var cached = _contexts[ContextIndex(request.RequesterId, request.Pasid)];
        if (cached != null && cached.SourceId == request.RequesterId && cached.Pasid == request.Pasid)
        {
            context = ReferenceEquals(cached.Device, device) ? cached : cached with { Device = device, DeviceTlb = device!.DeviceTlb };
            return VtdFaultReason.None;
        }

        return ReadPasidEntry(request, device!, out context, out faultsDisabled);
    }

    private VtdFaultReason ReadDevice(ushort sourceId, out VtdDevice? device, out bool faultsDisabled)
    {
        device = null;
        faultsDisabled = false;
        // Each half of a root entry serves half of the bus's functions.
        var rootEntry = _rootTable + ((ulong)(sourceId >> 8) * 16) + (ulong)(sourceId >> 7 & 1) * 8;
        if (!Memory.Read64(rootEntry, out var root))
            return VtdFaultReason.ScalableRootTableInvalid;
        if ((root & 1) == 0)
            return VtdFaultReason.ScalableRootNotPresent;
        if ((root & ~(AddressMask | 1)) != 0)
            return VtdFaultReason.ScalableRootReserved;
        var entry = (root & AddressMask) + ((ulong)(sourceId & 0x7F) * 32);
        if (!Memory.Read64(entry, out var q0) || !Memory.Read64(entry + 8, out var q1) || !Memory.Read64(entry + 16, out var q2)
            || !Memory.Read64(entry + 24, out var q3))
            return VtdFaultReason.ScalableContextTableInvalid;
        faultsDisabled = (q0 & 2) != 0;
        if ((q0 & 1) == 0)
            return VtdFaultReason.ScalableContextNotPresent;
        if ((q0 & ~(AddressMask | 0xE1F)) != 0 || q1 >> 21 != 0 || q2 != 0 || q3 != 0)
            return VtdFaultReason.ScalableContextReserved;
        ReadOnlySpan<ulong> words = [sourceId, q0, q1];
        device = _knownDevices.Find(words) ?? _knownDevices.Add(words, new VtdDevice
        {
            SourceId = sourceId,
            PasidDirectory = q0 & AddressMask,
            DirectorySizeLg2 = (int)(q0 >> 9 & 7) + 7,
            RidPasid = (uint)q1 & 0xF_FFFF,
            DeviceTlb = (q0 & 4) != 0,
            PasidEnabled = (q0 & 8) != 0,
            PageRequests = (q0 & 16) != 0,
            FaultsDisabled = faultsDisabled,
        });
        return (device.DeviceTlb && !_options.DeviceTlb) || (device.PageRequests && !device.DeviceTlb)
            ? VtdFaultReason.ScalableContextInvalid
            : VtdFaultReason.None;
    }

    private VtdFaultReason ReadPasidEntry(in DmaRequest request, VtdDevice device, out VtdContext? context, out bool faultsDisabled)
    {
        context = null;
        faultsDisabled = device.FaultsDisabled;
        var hasPasid = request.Pasid != DmaRequest.NoPasid;
        if (hasPasid && !device.PasidEnabled)
            return VtdFaultReason.PasidDisabled;
        var pasid = hasPasid ? request.Pasid : device.RidPasid;
        if (pasid >> (device.DirectorySizeLg2 + 6) != 0)
            return hasPasid ? VtdFaultReason.PasidTooLarge : VtdFaultReason.RidPasidInvalid;
        if (!Memory.Read64(device.PasidDirectory + ((ulong)(pasid >> 6) * 8), out var directory))
            return VtdFaultReason.PasidDirectoryInvalid;
        faultsDisabled |= (directory & 2) != 0;
        if ((directory & 1) == 0)
            return VtdFaultReason.PasidDirectoryNotPresent;
        if ((directory & ~(AddressMask | 3)) != 0)
            return VtdFaultReason.PasidDirectoryReserved;
        var entry = (directory & AddressMask) + ((ulong)(pasid & 0x3F) * 64);
        if (!Memory.Read64(entry, out var q0) || !Memory.Read64(entry + 8, out var q1) || !Memory.Read64(entry + 16, out var q2)
            || !Memory.Read64(entry + 56, out _))
            return VtdFaultReason.PasidTableInvalid;
        faultsDisabled |= (q0 & 2) != 0;
        if ((q0 & 1) == 0)
            return VtdFaultReason.PasidNotPresent;
        for (ulong word = 32; word < 64; word += 8)
        {
            if (!Memory.Read64(entry + word, out var reserved) || reserved != 0)
                return VtdFaultReason.PasidReserved;
        }

        if (!TryTranslationType(q0, q2, out var translation))
            return VtdFaultReason.PasidInvalid;
        // Pointers above the host address width, and the bits below them that have no meaning.
        var second = translation is VtdTranslation.SecondStage or VtdTranslation.Nested;
        if ((second && (q0 & ~(AddressMask | 0x3FF)) != 0) || (translation >= VtdTranslation.FirstStage && (q2 & ~(AddressMask | 0xFF)) != 0))
            return VtdFaultReason.PasidReserved;
        ReadOnlySpan<ulong> words = [request.RequesterId | ((ulong)request.Pasid << 32), q0, q1, q2, faultsDisabled ? 1UL : 0, 1];
        context = _knownContexts.Find(words);
        if (context != null && ReferenceEquals(context.Device, device))
            return VtdFaultReason.None;
        var domain = (ushort)q1;
        var dirty = (q0 & 1 << 9) != 0;
        var firstStage = translation >= VtdTranslation.FirstStage;
        context = _knownContexts.Add(words, new VtdContext
        {
            SourceId = request.RequesterId,
            Device = device,
            Pasid = request.Pasid,
            DomainId = domain,
            Translation = translation,
            DeviceTlb = device.DeviceTlb,
            FaultsDisabled = faultsDisabled,
            SecondStage = second ? DirectTable.Of<VtdSecondStage>(Memory, SecondStageGeometry(30 + (9 * (int)(q0 >> 2 & 7)), dirty), q0 & AddressMask,
                dirty ? WalkAccess.UpdateAccessedDirty : 0) : default,
            SecondStageRules = dirty ? WalkAccess.UpdateAccessedDirty : 0,
            FirstStage = firstStage ? FirstStageTable(q2, second) : default,
            SupervisorEnabled = (q2 & 1) != 0 || !firstStage,
            ExecuteEnabled = (q2 & 2) != 0,
            Space = domain | (firstStage ? ((ulong)pasid + 1) << 16 : 0) | (translation == VtdTranslation.FirstStage ? FirstStageOnly : 0)
                | (translation == VtdTranslation.Nested ? NestedSpace : 0),
        });
        return VtdFaultReason.None;
    }

    private DirectTable FirstStageTable(ulong word, bool nested)
    {
        var geometry = X64.Geometry((word >> 2 & 3) == 1 ? 57 : 48, Memory.Options.AddressBits);
        return nested ? DirectTable.Nested<X64>(Memory, geometry, word & AddressMask, WalkAccess.UpdateAccessedDirty)
            : DirectTable.Of<X64>(Memory, geometry, word & AddressMask, WalkAccess.UpdateAccessedDirty);
    }

    private bool TryTranslationType(ulong q0, ulong q2, out VtdTranslation translation)
    {
        var width = 30 + (9 * (int)(q0 >> 2 & 7));
        var widthOk = width >= 39 && width <= _options.AddressWidth;
        var dirtyOk = (q0 & 1 << 9) == 0 || _options.SecondStageDirty;
        var levelsOk = (q2 >> 2 & 3) == 0 || ((q2 >> 2 & 3) == 1 && _options.FirstStage5);
        switch ((int)(q0 >> 6 & 7))
        {
            case 1:
                translation = VtdTranslation.FirstStage;
                return _options.FirstStage && levelsOk;
            case 2:
                translation = VtdTranslation.SecondStage;
                return _options.SecondStage && widthOk && dirtyOk;
            case 3:
                translation = VtdTranslation.Nested;
                return _options.Nesting && _options.SecondStage && _options.FirstStage && levelsOk && widthOk && dirtyOk;
            case 4:
                translation = VtdTranslation.PassThrough;
                return _options.PassThrough;
            default:
                translation = default;
                return false;
        }
    }
}
