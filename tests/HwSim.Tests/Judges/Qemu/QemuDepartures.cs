using HwSim.Tests.Judges.Vtd;
using IommuFd.HwSim.PageTables;

namespace HwSim.Tests.Judges.Qemu;

/// <summary>
/// Where QEMU 10.0.2's models were seen to depart from the specifications, in one place. A difference with a name here is QEMU's, is counted in the report,
/// and is no failure; everything else is a difference that has to be explained.
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
        if (ours with { Reason = 0 } != theirs with { Reason = 0 })
            return null;
        return (mode, ours.Reason, theirs.Reason) switch
        {
            (VtdMode.ScalableSecondStage, 0x79 or 0x83 or 0x84 or 0x85 or 0x86 or 0x7a or 0x78, 4 or 5 or 6 or 7 or 0xc) =>
                "scalable second stage: reasons of legacy mode (4, 5, 6, c)",
            _ => null,
        };
    }
}
