using System.Globalization;
using IommuFd.HwSim.Units;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>Primary fault logging (data book 7.3): the fault event, and its records as lines of the kernel's log.</summary>
internal sealed partial class VtdDriver
{
    private const ulong FaultMessage = 0xfee0_1000;

    /// <summary>Told of every record.</summary>
    internal Action<IoDmaFault>? Faulted { get; set; }

    private static iommu_fault_reason ReasonOf(VtdFaultReason reason) => reason switch
    {
        VtdFaultReason.PasidDirectoryInvalid or VtdFaultReason.PasidTableInvalid => iommu_fault_reason.IOMMU_FAULT_REASON_PASID_FETCH,
        VtdFaultReason.PasidReserved or VtdFaultReason.PasidInvalid => iommu_fault_reason.IOMMU_FAULT_REASON_BAD_PASID_ENTRY,
        VtdFaultReason.PasidDisabled or VtdFaultReason.PasidTooLarge or VtdFaultReason.PasidDirectoryNotPresent or VtdFaultReason.PasidNotPresent
            => iommu_fault_reason.IOMMU_FAULT_REASON_PASID_INVALID,
        VtdFaultReason.FirstStageTableInvalid or VtdFaultReason.SecondStageTableInvalid => iommu_fault_reason.IOMMU_FAULT_REASON_WALK_EABT,
        VtdFaultReason.FirstStageNotPresent or VtdFaultReason.SecondStageNotPresent => iommu_fault_reason.IOMMU_FAULT_REASON_PTE_FETCH,
        VtdFaultReason.NoRead or VtdFaultReason.NoWrite or VtdFaultReason.NoExecute or VtdFaultReason.UserOnSupervisorPage =>
            iommu_fault_reason.IOMMU_FAULT_REASON_PERMISSION,
        VtdFaultReason.NotCanonical or VtdFaultReason.AddressBeyondHardware or VtdFaultReason.AddressBeyondTable =>
            iommu_fault_reason.IOMMU_FAULT_REASON_OOR_ADDRESS,
        _ => iommu_fault_reason.IOMMU_FAULT_REASON_UNKNOWN,
    };

    private void EnableFaults()
    {
        Unit.Interrupts = this;
        Unit.WriteRegister(VtdRegister.FEADDR, 4, FaultMessage);
        Unit.WriteRegister(VtdRegister.FEUADDR, 4, FaultMessage >> 32);
        Unit.WriteRegister(VtdRegister.FECTL, 4, 0);
    }

    // Called by the unit, which is locked: records come one after the other.
    private void HandleFaults()
    {
        const ulong Overflow = 1, Pending = 2, Fault = 1UL << 63, Reading = 1UL << 62, HasPasid = 1UL << 31;
        var records = (int)(Cap >> 40 & 0xff) + 1;
        for (var status = Unit.ReadRegister(VtdRegister.FSTS, 4); (status & Pending) != 0; status = Unit.ReadRegister(VtdRegister.FSTS, 4))
        {
            var record = VtdRegister.FRCD + (16 * (int)((status >> 8 & 0xff) % (ulong)records));
            var low = Unit.ReadRegister(record, 8);
            var high = Unit.ReadRegister(record + 8, 8);
            if ((high & Fault) == 0)
            {
                break;
            }

            var reason = (VtdFaultReason)(high >> 32 & 0xff);
            var pasid = (high & HasPasid) != 0 ? string.Create(CultureInfo.InvariantCulture, $"PASID 0x{high >> 40 & 0xfffff:x}") : "NO_PASID";
            var source = PciName.Of((ushort)high);
            _print?.Invoke($"DMAR: [DMA {((high & Reading) != 0 ? "Read" : "Write")} {pasid}] Request device [{source}] fault addr"
                + $" 0x{low & ~0xfffUL:x} [fault reason 0x{(int)reason:x2}] {reason}");
            Unit.WriteRegister(record + 8, 8, Fault);
            Faulted?.Invoke(new IoDmaFault(
                (ushort)high, (high & HasPasid) != 0 ? (uint)(high >> 40) & 0xfffff : null, low & ~0xfffUL,
                (high & Reading) != 0 ? 1u : 2, ReasonOf(reason)));
        }

        Unit.WriteRegister(VtdRegister.FSTS, 4, Overflow);
    }
}
