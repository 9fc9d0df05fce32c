using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

// First-stage and nested translation: data book sections 3.6 and 3.8.
public sealed partial class VtdUnit
{
    private VtdFaultReason WalkFirstStage(in DmaRequest request, VtdContext context, WalkAccess rules, out DmaTranslation translation)
    {
        var access = ((WalkAccess)request.Access & (WalkAccess.Read | WalkAccess.Write | WalkAccess.Execute | WalkAccess.Privileged)) | rules;
        var table = context.FirstStage;
        translation = default;
        if (context.Translation == VtdTranslation.FirstStage)
        {
            var ok = table.Walk<X64>(request.Address, access, out var result);
            translation.Output = result.Output;
            translation.SizeLg2 = result.SizeLg2;
            translation.Allowed = Allowed(request, result.Attributes, true);
            return ok ? CheckOutput(result.Output) : FirstStageReason(result, table.TopLevel);
        }

        var secondTable = context.SecondStage;
        var nested = new NestedTableReader<VtdSecondStage>(secondTable, rules & context.SecondStageRules);
        if (!TableWalk.Walk<X64, NestedTableReader<VtdSecondStage>>(table.Plan!, table.Root, ref nested, request.Address, access, out var first))
        {
            return first.Fault == WalkFault.TableTranslation
                ? NestedTableReason(first, nested.Second, context)
                : FirstStageReason(first, table.TopLevel);
        }

        var secondAccess = (access & (WalkAccess.Read | WalkAccess.Write)) | (rules & context.SecondStageRules);
        if (!secondTable.Walk<VtdSecondStage>(first.Output, secondAccess, out var second))
            return SecondStageReason(second, secondTable.TopLevel, (request.Access & DmaAccess.Write) != 0);
        translation.Output = second.Output;
        translation.SizeLg2 = Math.Min(first.SizeLg2, second.SizeLg2);
        translation.Allowed = Allowed(request, first.Attributes, true) & Allowed(request, second.Attributes, context.SecondStageRules != 0);
        return VtdFaultReason.None;
    }

    // A first stage can point into the interrupt range; such an address is not memory.
    private static VtdFaultReason CheckOutput(ulong output) => output >> 20 == 0xFEE ? VtdFaultReason.InterruptRange : VtdFaultReason.None;

    private static VtdFaultReason FirstStageReason(in WalkResult result, int topLevel) => result.Fault switch
    {
        WalkFault.AddressTooWide => VtdFaultReason.NotCanonical,
        WalkFault.NotPresent => VtdFaultReason.FirstStageNotPresent,
        WalkFault.TableOutsideMemory => result.Level == topLevel ? VtdFaultReason.FirstStageRootInvalid : VtdFaultReason.FirstStageTableInvalid,
        WalkFault.Privilege => VtdFaultReason.UserOnSupervisorPage,
        WalkFault.Write => VtdFaultReason.NoWrite,
        WalkFault.Read => VtdFaultReason.NoRead,
        WalkFault.Execute => VtdFaultReason.NoExecute,
        _ => VtdFaultReason.FirstStageReserved,
    };

    private VtdFaultReason NestedTableReason(in WalkResult first, in WalkResult second, VtdContext context) => second.Fault switch
    {
        WalkFault.AddressTooWide => VtdFaultReason.NestedAddressBeyondWidth,
        WalkFault.Write => VtdFaultReason.NestedEntryWrite,
        WalkFault.NotPresent or WalkFault.Read => first.Level == context.FirstStage.TopLevel
            ? VtdFaultReason.NestedRootRead
            : VtdFaultReason.NestedEntryRead,
        _ => SecondStageReason(second, context.SecondStage.TopLevel, false),
    };

    private void CheckStaleness(in DmaRequest request, VtdContext context, in DmaTranslation cached)
    {
        lock (_gate)
        {
            VtdContext? now = null;
            if (_mode == 0)
                _ = ReadLegacyContext(request, out now, out _);
            else if (ReadDevice(request.RequesterId, out var device, out _) == VtdFaultReason.None)
                _ = ReadPasidEntry(request, device!, out now, out _);
            if (now == null || now.DomainId != context.DomainId || now.Translation != context.Translation
                || now.SecondStage.Root != context.SecondStage.Root || now.FirstStage.Root != context.FirstStage.Root)
            {
                var missed = context.Device == null
                    ? $"context-cache invalidation of source-id {request.RequesterId:x4} (and IOTLB of domain {context.DomainId})"
                    : $"PASID-cache invalidation of domain {context.DomainId} or context-cache invalidation of source-id {request.RequesterId:x4}";
                ReportStale(new StaleUse(request, cached.Output, null, missed));
                return;
            }

            var reason = Walk(request, now, WalkAccess.None, out var fresh);
            if (reason == VtdFaultReason.None && fresh.Output == cached.Output)
                return;
            var what = context.Translation >= VtdTranslation.FirstStage
                ? $"PASID-based IOTLB invalidation of domain {context.DomainId}, PASID {(context.Space >> 16 & 0x1F_FFFF) - 1}, address"
                    + $" 0x{request.Address & ~0xFFFUL:x}"
                : $"IOTLB invalidation of domain {context.DomainId}, address 0x{request.Address & ~0xFFFUL:x}";
            ReportStale(new StaleUse(request, cached.Output, reason == VtdFaultReason.None ? fresh.Output : null, what));
        }
    }
}
