using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

// Legacy mode: data book sections 3.4.1, 3.4.2 and 9.1 (root entry), 9.3 (context entry).
public sealed partial class VtdUnit
{
    private ulong AddressMask => ((1UL << Memory.Options.AddressBits) - 1) & ~0xFFFUL;

    private VtdFaultReason FindContext(in DmaRequest request, out VtdContext? context, out bool faultsDisabled)
    {
        lock (_gate)
        {
            context = null;
            faultsDisabled = false;
            var reason = _mode switch
            {
                0 => ReadLegacyContext(request, out context, out faultsDisabled),
                1 when _options.ScalableMode => ReadScalableContext(request, out context, out faultsDisabled),
                _ => VtdFaultReason.TranslationTableModeInvalid,
            };
            if (context != null)
                _contexts[ContextIndex(request.RequesterId, request.Pasid)] = context;
            return reason;
        }
    }

    private VtdFaultReason ReadLegacyContext(in DmaRequest request, out VtdContext? context, out bool faultsDisabled)
    {
        context = null;
        faultsDisabled = false;
        if (request.Pasid != DmaRequest.NoPasid)
            return VtdFaultReason.PasidInLegacyMode;
        var rootEntry = _rootTable + ((ulong)(request.RequesterId >> 8) * 16);
        if (!Memory.Read64(rootEntry, out var root) || !Memory.Read64(rootEntry + 8, out var rootHigh))
            return VtdFaultReason.RootTableInvalid;
        if ((root & 1) == 0)
            return VtdFaultReason.RootNotPresent;
        if ((root & ~(AddressMask | 1)) != 0 || rootHigh != 0)
            return VtdFaultReason.RootReserved;

        var entry = (root & AddressMask) + ((ulong)(request.RequesterId & 0xFF) * 16);
        if (!Memory.Read64(entry, out var low) || !Memory.Read64(entry + 8, out var high))
            return VtdFaultReason.ContextTableInvalid;
        faultsDisabled = (low & 2) != 0;
        if ((low & 1) == 0)
            return VtdFaultReason.ContextNotPresent;
        if ((low & ~(AddressMask | 0xF)) != 0 || (high & ~0xFF_FF7FUL) != 0)
            return VtdFaultReason.ContextReserved;

        var type = (int)(low >> 2 & 3);
        var width = 30 + (9 * (int)(high & 7));
        if (type == 3 || (type == 2 && !_options.PassThrough) || (type == 1 && !_options.DeviceTlb) || width < 39 || width > _options.AddressWidth)
            return VtdFaultReason.ContextInvalid;
        ReadOnlySpan<ulong> words = [request.RequesterId | ((ulong)request.Pasid << 32), low, high, 0, 0, 0];
        context = _knownContexts.Find(words);
        if (context is { Device: null })
            return VtdFaultReason.None;
        var domain = (ushort)(high >> 8);
        context = _knownContexts.Add(words, new VtdContext
        {
            SourceId = request.RequesterId,
            Pasid = request.Pasid,
            DomainId = domain,
            Translation = type == 2 ? VtdTranslation.PassThrough : VtdTranslation.SecondStage,
            DeviceTlb = type == 1,
            FaultsDisabled = faultsDisabled,
            SecondStage = type == 2 ? default : DirectTable.Of<VtdSecondStage>(Memory, SecondStageGeometry(width, false), low & AddressMask),
            Space = domain,
        });
        return VtdFaultReason.None;
    }

    private PageTableGeometry SecondStageGeometry(int width, bool dirty) => VtdSecondStage.Geometry(
        width, Memory.Options.AddressBits,
        (dirty ? PageTableFeatures.DirtyTracking : 0) | (_options.SnoopControl ? 0 : PageTableFeatures.NoSnoopControl)
            | (_options.DeviceTlb ? 0 : PageTableFeatures.NoTransientMapping),
        0x1000 | ((ulong)(_options.LargePages & 1) << 21) | ((ulong)(_options.LargePages & 2) << 29));
}
