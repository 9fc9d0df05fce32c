using System.Globalization;
using IommuFd.HwSim.Units;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>The fault queue (RISC-V IOMMU architecture, chapter 3.2) as lines of the kernel's log.</summary>
internal sealed partial class RiscvDriver : IInterruptController
{
    private const ulong FaultMessage = 0x2800_1000;
    private const int FaultCause = 1;

    /// <inheritdoc/>
    public void Message(ushort requesterId, ulong address, uint data)
    {
        if (address == FaultMessage)
        {
            HandleFaults();
        }
    }

    private void EnableFaults()
    {
        Unit.Interrupts = this;
        Unit.WriteRegister(RiscvRegister.icvec, 8, FaultCause << (4 * FaultCause));
        Unit.WriteRegister(RiscvRegister.msi_cfg_tbl + (16 * FaultCause), 8, FaultMessage);
        Unit.WriteRegister(RiscvRegister.msi_cfg_tbl + (16 * FaultCause) + 12, 4, 0);
    }

    // Called by the unit, which is locked: records come one after the other.
    private void HandleFaults()
    {
        const ulong Mask = (1UL << RingLg2) - 1;
        var head = Unit.ReadRegister(RiscvRegister.fqh, 4);
        for (; head != Unit.ReadRegister(RiscvRegister.fqt, 4); head = (head + 1) & Mask)
        {
            _memory.Read64(_faults + (head * 32), out var header);
            _memory.Read64(_faults + (head * 32) + 16, out var address);
            _memory.Read64(_faults + (head * 32) + 24, out var second);
            _print?.Invoke(string.Create(
                CultureInfo.InvariantCulture,
                $"riscv-iommu 0000:00:01.0: Fault {header & 0xfff} devid: 0x{header >> 40:x} iotval: {address:x} iotval2: {second:x}"));
            Report(header, address);
        }

        Unit.WriteRegister(RiscvRegister.fqh, 4, head);
        Unit.WriteRegister(RiscvRegister.ipsr, 4, 1u << FaultCause);
    }

    /// <summary>Told of every record that a transaction with an address caused.</summary>
    internal Action<IoDmaFault>? Faulted { get; set; }

    // TTYP 3 and 7 are writes. A cause says that a page fault happened, not whether the page was missing or did not permit it.
    private void Report(ulong header, ulong address)
    {
        const ulong HasPasid = 1UL << 32;
        uint? pasid = (header & HasPasid) != 0 ? (uint)(header >> 12) & 0xf_ffff : null;
        var reason = (RiscvCause)(header & 0xfff) switch
        {
            >= RiscvCause.InstructionPage and <= RiscvCause.WriteGuestPage => iommu_fault_reason.IOMMU_FAULT_REASON_PTE_FETCH,
            >= RiscvCause.InstructionAccess and <= RiscvCause.WriteAccess => iommu_fault_reason.IOMMU_FAULT_REASON_WALK_EABT,
            RiscvCause.PdtLoad => iommu_fault_reason.IOMMU_FAULT_REASON_PASID_FETCH,
            RiscvCause.PdtNotValid => iommu_fault_reason.IOMMU_FAULT_REASON_PASID_INVALID,
            RiscvCause.PdtMisconfigured => iommu_fault_reason.IOMMU_FAULT_REASON_BAD_PASID_ENTRY,
            _ => iommu_fault_reason.IOMMU_FAULT_REASON_UNKNOWN,
        };
        Faulted?.Invoke(new IoDmaFault((ushort)(header >> 40), pasid, address, (header >> 34 & 3) == 3 ? 2u : 1, reason));
    }
}
