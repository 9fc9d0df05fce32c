using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using IommuFd.HwSim.Units;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

// The event queue: what a guest's stage 1 did wrong is the guest's to hear.
internal sealed partial class SmmuDriver : IInterruptController
{
    private const ulong EventMessage = 0x9050040;

    private readonly ConcurrentDictionary<ushort, (SmmuViommu Viommu, uint VirtualId)> _guests = new();
    private ulong _events;

    /// <summary>Whose guest a stream belongs to, and its id there; null for nobody's.</summary>
    internal void SetGuest(ushort stream, (SmmuViommu Viommu, uint VirtualId)? guest)
    {
        if (guest is { } of)
        {
            _guests[stream] = of;
        }
        else
        {
            _guests.TryRemove(stream, out _);
        }
    }

    /// <summary>Told of every event that is not a guest's.</summary>
    internal Action<IoDmaFault>? Faulted { get; set; }

    private static iommu_fault_reason ReasonOf(SmmuEvent code) => code switch
    {
        SmmuEvent.F_CD_FETCH => iommu_fault_reason.IOMMU_FAULT_REASON_PASID_FETCH,
        SmmuEvent.C_BAD_CD => iommu_fault_reason.IOMMU_FAULT_REASON_BAD_PASID_ENTRY,
        SmmuEvent.C_BAD_SUBSTREAMID => iommu_fault_reason.IOMMU_FAULT_REASON_PASID_INVALID,
        SmmuEvent.F_TRANSLATION => iommu_fault_reason.IOMMU_FAULT_REASON_PTE_FETCH,
        SmmuEvent.F_PERMISSION => iommu_fault_reason.IOMMU_FAULT_REASON_PERMISSION,
        SmmuEvent.F_ACCESS => iommu_fault_reason.IOMMU_FAULT_REASON_ACCESS,
        SmmuEvent.F_ADDR_SIZE => iommu_fault_reason.IOMMU_FAULT_REASON_OOR_ADDRESS,
        _ => iommu_fault_reason.IOMMU_FAULT_REASON_UNKNOWN,
    };

    /// <inheritdoc/>
    public void Message(ushort requesterId, ulong address, uint data)
    {
        if (address == EventMessage)
        {
            HandleEvents();
        }
    }

    private void Print(SmmuEvent code, ReadOnlySpan<ulong> words)
    {
        const ulong Reading = 1UL << 35, Privileged = 1UL << 33, HasSubstream = 1 << 11;
        const string Name = "arm-smmu-v3 arm-smmu-v3.0.auto";
        var stream = (ushort)(words[0] >> 32);
        _print?.Invoke($"{Name}: event: {code} client: 0000:{PciName.Of(stream)} sid: 0x{stream:x} ssid:"
            + $" 0x{((words[0] & HasSubstream) != 0 ? words[0] >> 12 & 0xfffff : 0):x} iova: 0x{words[2]:x} ipa: 0x{words[3] & ~0xfffUL:x}");
        _print?.Invoke($"{Name}: {((words[1] & Privileged) != 0 ? "priv" : "unpriv")} data {((words[1] & Reading) != 0 ? "read" : "write")}"
            + $" {((words[1] & 1UL << 39) != 0 ? "s2" : "s1")} \"{code}\" stag: 0x{words[1] & 0xffff:x}");
    }

    // Called by the unit, which is locked: events come one after the other.
    private void HandleEvents()
    {
        const ulong Mask = (2 << RingLg2) - 1;
        const ulong Stage2 = 1UL << 39, Reading = 1UL << 35, HasSubstream = 1 << 11;
        Span<ulong> words = stackalloc ulong[4];
        var consumer = Unit.ReadRegister(SmmuRegister.EVENTQ_CONS, 4) & Mask;
        var producer = Unit.ReadRegister(SmmuRegister.EVENTQ_PROD, 4);
        for (; consumer != (producer & Mask); consumer = (consumer + 1) & Mask)
        {
            var at = _events + ((consumer & (Mask >> 1)) * 32);
            for (var i = 0; i < 4; i++)
            {
                _memory.Read64(at + ((ulong)i * 8), out words[i]);
            }

            var code = (SmmuEvent)(words[0] & 0xff);
            var isTold = code is SmmuEvent.C_BAD_STE or SmmuEvent.F_STREAM_DISABLED or SmmuEvent.C_BAD_SUBSTREAMID or SmmuEvent.C_BAD_CD
                or SmmuEvent.F_TRANSLATION or SmmuEvent.F_ADDR_SIZE or SmmuEvent.F_ACCESS or SmmuEvent.F_PERMISSION;
            if (isTold && (words[1] & Stage2) == 0 && _guests.TryGetValue((ushort)(words[0] >> 32), out var guest))
            {
                words[0] = (uint)words[0] | ((ulong)guest.VirtualId << 32);
                _ = guest.Viommu.ReportEvent((uint)iommu_veventq_type.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, MemoryMarshal.AsBytes<ulong>(words));
            }
            else
            {
                Print(code, words);
                Faulted?.Invoke(new IoDmaFault(
                    (ushort)(words[0] >> 32), (words[0] & HasSubstream) != 0 ? (uint)(words[0] >> 12) & 0xfffff : null, words[2],
                    (words[1] & Reading) != 0 ? 1u : 2, ReasonOf(code)));
            }
        }

        // An overflow is acknowledged by taking its flag over.
        Unit.WriteRegister(SmmuRegister.EVENTQ_CONS, 4, consumer | (producer & 1UL << 31));
    }
}
