using HwSim.Tests.Judges.RiscV;
using HwSim.Tests.Judges.Smmu;
using HwSim.Tests.Judges.Vtd;
using IommuFd.HwSim.PageTables;

namespace HwSim.Tests.Judges.Qemu;

/// <summary>
/// Where QEMU 10.0.2's models were seen to depart from the specifications, in one place. A difference with a name here is QEMU's, is counted in the
/// report, and is no failure; everything else is a difference that has to be explained.
/// </summary>
public static class QemuDepartures
{
    /// <summary>RISC-V IOMMU: bits of entries that QEMU does not look at. Each applies only where our walk stopped for exactly that reason.</summary>
    /// <param name="ours">Our walk.</param>
    /// <param name="cause">QEMU's cause, 0 for a translation.</param>
    public static string? RiscV(in WalkResult ours, uint cause)
    {
        const ulong leaf = 2 | 4 | 8;
        return ours.Fault switch
        {
            WalkFault.Privilege => "PTE.U is not checked",
            WalkFault.ReservedBits when ours.Entry >> 54 != 0 => "PTE bits 63:54 are not checked",
            WalkFault.ReservedBits when (ours.Entry & leaf) == 0 && (ours.Entry & 0xD0) != 0 => "D, A and U of a non-leaf PTE are not checked",
            WalkFault.AddressTooWide when cause is 21 or 23 => "Sv32: an IOVA over 32 bits is called a guest page fault (21, 23)",
            _ => null,
        };
    }

    /// <summary>VT-d: fault reasons. Everything else of the two answers must be equal.</summary>
    /// <param name="mode">How requests are translated.</param>
    /// <param name="ours">Our answer.</param>
    /// <param name="theirs">QEMU's.</param>
    public static string? Vtd(VtdMode mode, in VtdOutcome ours, in VtdOutcome theirs)
    {
        var scalable = mode != VtdMode.Legacy;
        if (scalable && ours.Reached && theirs.Reason == 0xa)
            return "scalable root entry: the half for the other functions is checked too";
        if (scalable && !ours.Reached && ours.Reason is 0x52 or 0x5a && theirs.Reason is 0 or 4 or 5 or 6 or 0xc or 0x58 or >= 0x71 and not 0x73)
            return "reserved bits of PASID directory and table entries are not checked";
        if (scalable && !ours.Reached && ours.Reason == 0 && theirs.Reason is 0x51 or 0x58 or 0x5b)
            return "FPD of a PASID directory or table entry is not seen when the entry is absent or wrong";
        if (scalable && !ours.Reached && theirs.Reason == 0)
        {
            switch (ours.Reason)
            {
                case 0x43: return "PRE without DTE is accepted in a scalable context entry";
                case 0x5b: return "SSADE is accepted although ECAP.SSADS is clear";
                case 0x7a: return "scalable mode: SNP of a leaf is accepted although ECAP.SC is clear";
                default: break;
            }
        }

        if (mode == VtdMode.FirstStage && ours.Reached && theirs.Reason == 0x80)
            return "first stage: AW limits the address";
        if (ours with { Reason = 0 } != theirs with { Reason = 0 })
            return null;
        if (scalable && (ours.Reason, theirs.Reason) is (0x39, 1) or (0x3a, 0xa) or (0x41, 2) or (0x42, 0xb))
            return "scalable root and context entries: reasons of legacy mode (1, 2, a, b)";
        return (mode, ours.Reason, theirs.Reason) switch
        {
            (VtdMode.ScalableSecondStage, 0x79 or 0x83 or 0x84 or 0x85 or 0x86 or 0x7a or 0x78, 4 or 5 or 6 or 7 or 0xc) =>
                "scalable second stage: reasons of legacy mode (4, 5, 6, c)",
            (not VtdMode.Legacy, 0x59, 0x5b) => "a PASID table entry's type is judged before its presence",
            (VtdMode.Legacy, 7, 5 or 6) => "second stage: a table entry's permission is judged before the entries below it",
            (VtdMode.Legacy, 0xc, 5 or 6) => "second stage: permission is judged before reserved bits",
            (not VtdMode.Legacy, 0x5a, 3 or 0x73) => "a root pointer that is too wide in a PASID table entry is a table access error (3, 73)",
            (VtdMode.FirstStage, (>= 0x70 and <= 0x73) or 0x81 or 0x85, 0x81 or 0x85) =>
                "first stage: a table entry's permission is judged before the entries below it",
            _ => null,
        };
    }

    /// <summary>VT-d first stage: accessed and dirty bits after the same accesses.</summary>
    /// <param name="ours">Our entry.</param>
    /// <param name="theirs">QEMU's.</param>
    public static string? VtdEntry(ulong ours, ulong theirs) => (ours ^ theirs, ours & ~theirs) switch
    {
        (1 << 6, 1 << 6) when (theirs & 1 << 5) != 0 => "first stage: D is not set by a write to a page whose A is set already",
        (1 << 5, 1 << 5) => "first stage: a table entry whose permission refuses is not marked accessed",
        _ => null,
    };

    /// <summary>SMMUv3: event records and silence.</summary>
    /// <param name="config">STE.Config: 5 stage 1, 6 stage 2, 7 nested.</param>
    /// <param name="ours">Our answer.</param>
    /// <param name="theirs">QEMU's.</param>
    /// <param name="damaged">The entry that was damaged, or 0.</param>
    public static string? Smmu(int config, in SmmuOutcome ours, in SmmuOutcome theirs, ulong damaged)
    {
        if (config == 7 && ours with { Flags = ours.Flags & ~SmmuOutcome.Stage2 } == theirs && (ours.Flags & SmmuOutcome.Class) == 1 << 8)
            return "nested: a first-stage table that misses in stage 2 is recorded with S2 = 0";
        if (config == 6 && ours is { Event: 0x11, Flags: 0x200 or 0x208 } && theirs == default)
            return "stage 2 only: an input address above IAS gives no event";
        if (ours.Event == 0x11 && theirs.Event == 0x0b && ours.Input == theirs.Input && theirs.Address >> 44 != 0)
            return "a table address above OAS is fetched (F_WALK_EABT) instead of F_ADDR_SIZE";
        if (config == 7 && (ours.Flags & (SmmuOutcome.Class | SmmuOutcome.Stage2)) == SmmuOutcome.Stage2
            && theirs.Event is 0x0b or 0x10 or 0x12 or 0x13
            && ours with { Flags = ours.Flags | SmmuOutcome.Read, Event = theirs.Event } == theirs
                && (ours.Event == theirs.Event || (damaged & 3) == 1))
            return "nested: the fetch of a context descriptor that misses in stage 2 is recorded as a read";
        if (config != 6 && ours.Event == 0x13 && theirs.Event == 0 && damaged != 0 && ((damaged & 0x40) == 0 || (damaged & 1UL << 61) != 0))
            return "AP[1] and APTable[0] are not enforced";
        if (config != 6 && theirs.Event == 0x13 && ours.Event is 0x10 or 0x11 or 0x12 or 0x0b && (damaged & 3) == 3 && (damaged & 1UL << 62) != 0)
            return "stage 1: APTable of a table entry is judged before the entries below it";
        if ((damaged & 3) != 1)
            return null;
        if (ours.Event == 0x10 && (theirs.Event == 0x12 || theirs.Event == 0x13 || theirs.Event == 0))
            return "a block is accepted at a level that has none";
        if (ours.Event == 0x11 && theirs.Event != 0x10)
            return "low bits of a block's address are ignored";
        return null;
    }

    /// <summary>RISC-V IOMMU with both stages.</summary>
    /// <param name="write">The request.</param>
    /// <param name="canonical">Whether the first stage can translate the address at all.</param>
    /// <param name="ours">Our answer.</param>
    /// <param name="theirs">QEMU's.</param>
    /// <param name="damaged">The second-stage entry that was damaged, or 0.</param>
    public static string? RiscVNested(bool write, bool canonical, RiscVAnswer ours, RiscVAnswer theirs, ulong damaged)
    {
        if (!write && ours.Cause is 0 or 21 && theirs.Cause == 23)
            return "nested: a read through a writable first-stage leaf asks the second stage for a write (23)";
        if (!canonical && damaged != 0 && ours.Cause is 13 or 15 && theirs.Cause is 21 or 23 or 5 or 7)
            return "nested: the first-stage root is translated before the IOVA is found not to be canonical";
        if (ours.Cause is 21 or 23 && damaged >> 54 != 0)
            return "PTE bits 63:54 are not checked";
        if (ours.Cause is 21 or 23 && (damaged & 14) == 0 && (damaged & 0xD0) != 0)
            return "D, A and U of a non-leaf PTE are not checked";
        return ours.Cause is 21 or 23 && damaged != 0 && (damaged & 16) == 0 ? "PTE.U is not checked" : null;
    }

    /// <summary>SMMUv3: stream table entries and context descriptors with changed bits.</summary>
    /// <param name="descriptor">The context descriptor, not the stream table entry.</param>
    /// <param name="address">Address of the changed word.</param>
    /// <param name="changed">The bits that were changed.</param>
    /// <param name="ours">Our answer.</param>
    /// <param name="theirs">QEMU's.</param>
    public static string? SmmuStructure(bool descriptor, ulong address, ulong changed, in SmmuOutcome ours, in SmmuOutcome theirs)
    {
        var word = descriptor ? -1 : (int)(address / 8 % 8);
        return (word, ours.Event, theirs.Event) switch
        {
            (0, 0, 4) when changed >> 59 != 0 => "S1CDMax is judged although stage 1 is off",
            (1, 0, 4) when (changed & 1 << 27) != 0 => "S1STALLD is judged although stage 1 is off",
            (0, 9, 0xa) => "a context descriptor at address 0 is read from the machine's flash",
            (0, 9 or 0x10, _) when (changed & 0xFUL << 52) != 0 => "S1ContextPtr bits 55:52 are ignored",
            (0, 0x10, 0x10) when ours with { Flags = ours.Flags | SmmuOutcome.Read } == theirs =>
                "nested: the fetch of a context descriptor that misses in stage 2 is recorded as a read",
            (1, 4, 0) when (changed & 3UL << 30) != 0 => "STRW is not checked",
            (2, 4, _) when (changed & 0xFFUL << 32) != 0 => "S2T0SZ 25 with SL0 2, and other start levels that do not fit, are accepted",
            (2, 4, 0) when (changed & 3UL << 55) != 0 => "S2HA and S2HD are accepted without HTTU",
            _ => null,
        };
    }
}
