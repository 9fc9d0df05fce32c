using System.Globalization;
using IommuFd.HwSim.Units;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>The event log (AMD I/O Virtualization Technology specification, 2.5) as lines of the kernel's log.</summary>
internal sealed partial class AmdDriver : IInterruptController
{
    private const ulong EventMessage = 0xfee0_2000;

    /// <inheritdoc/>
    public void Message(ushort requesterId, ulong address, uint data)
    {
        if (address == EventMessage)
        {
            HandleEvents();
        }
    }

    // Called by the unit, which is locked: events come one after the other.
    private void HandleEvents()
    {
        const ulong LogInterrupt = 2, Bytes = 16 << RingLg2;
        Unit.WriteRegister(AmdRegister.STATUS, 8, LogInterrupt);
        var head = Unit.ReadRegister(AmdRegister.EVT_HEAD, 8);
        for (; head != Unit.ReadRegister(AmdRegister.EVT_TAIL, 8); head = (head + 16) % Bytes)
        {
            _memory.Read64(_events + head, out var low);
            _memory.Read64(_events + head + 8, out var address);
            var code = (AmdEvent)(low >> 60);
            _print?.Invoke(string.Create(
                CultureInfo.InvariantCulture,
                $"AMD-Vi: Event logged [{code} device=0000:{PciName.Of((ushort)low)} domain=0x{low >> 32 & 0xffff:x4} address=0x{address:x}"
                    + $" flags=0x{low >> 48 & 0xfff:x4}]"));
            if (code == AmdEvent.IO_PAGE_FAULT)
            {
                Report(low, address);
            }
        }

        Unit.WriteRegister(AmdRegister.EVT_HEAD, 8, head);
    }

    /// <summary>Told of every page fault.</summary>
    internal Action<IoDmaFault>? Faulted { get; set; }

    // GN: the domain's place holds the rest of the PASID. RW: a write. PE: the page was there and did not permit it.
    private void Report(ulong low, ulong address)
    {
        const ulong HasPasid = 1UL << 48, Writing = 1UL << 53, Permission = 1UL << 54;
        uint? pasid = (low & HasPasid) != 0 ? (uint)(low & 0xf_0000) | ((uint)(low >> 32) & 0xffff) : null;
        Faulted?.Invoke(new IoDmaFault(
            (ushort)low,
            pasid,
            address,
            (low & Writing) != 0 ? 2u : 1,
            (low & Permission) != 0 ? iommu_fault_reason.IOMMU_FAULT_REASON_PERMISSION : iommu_fault_reason.IOMMU_FAULT_REASON_PTE_FETCH));
    }
}
