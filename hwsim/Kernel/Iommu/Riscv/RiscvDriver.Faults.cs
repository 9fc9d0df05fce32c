using System.Globalization;
using IommuFd.HwSim.Units;

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
                CultureInfo.InvariantCulture, $"riscv-iommu 0000:00:01.0: Fault {header & 0xfff} devid: 0x{header >> 40:x} iotval: {address:x} iotval2: {second:x}"));
        }

        Unit.WriteRegister(RiscvRegister.fqh, 4, head);
        Unit.WriteRegister(RiscvRegister.ipsr, 4, 1u << FaultCause);
    }
}
