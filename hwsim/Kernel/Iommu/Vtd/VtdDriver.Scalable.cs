using System.Numerics;
using IommuFd.HwSim.Units;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// Scalable mode: context entries of 32 bytes, PASID directories and tables (data book 9.4 to 9.6), and the invalidation queue (6.5.2).
/// </summary>
internal sealed partial class VtdDriver
{
    private const ulong PasidIoTlbDescriptor = 6, PasidCacheDescriptor = 7;
    private const int DescriptorBytes = 32, QueueBytes = 4096;

    // A page of directory entries at least: 2^15 PASIDs.
    private const int SmallestDirectoryLg2 = 9;

    private readonly ulong _queue;
    private int _tail;

    /// <summary>How a PASID's requests are translated (PASID table entry bits 8:6).</summary>
    internal enum Transfer
    {
        FirstStage = 1,
        SecondStage = 2,
        Nested = 3,
    }

    /// <summary>What a PASID table entry says.</summary>
    internal readonly record struct PasidEntry(Transfer Transfer, int DomainId, ulong FirstTable, ulong FirstFlags, ulong SecondTable,
        int AddressWidth, bool TracksDirty);

    /// <summary>
    /// Points a PASID (0: requests without one) of a device at its tables. -EBUSY when it has others: devices that share their context entry
    /// (see <see cref="IommuDevice.ContextId"/>) share these too, and the second to come finds what the first wrote. -ENOMEM when there is no memory
    /// for the entry.
    /// </summary>
    internal int SetPasid(IommuDevice device, uint pasid, in PasidEntry value)
    {
        lock (_lock)
        {
            var entry = FindPasid(device, pasid, allocate: true);
            if (entry == 0)
            {
                return -Errno.ENOMEM;
            }

            _memory.Read64(entry, out var low);
            ulong second = (uint)value.DomainId | (1u << 23), third = value.FirstTable | value.FirstFlags;
            if ((low & 1) != 0)
            {
                var isSame = low == LowOf(value) && _memory.Read64(entry + 8, out var domain) && domain == second
                    && _memory.Read64(entry + 16, out var first) && first == third;
                return isSame ? 0 : -Errno.EBUSY;
            }

            // Page walks are coherent; the quarter with the present bit last.
            _memory.Write64(entry + 16, third);
            _memory.Write64(entry + 8, second);
            _memory.Write64(entry, LowOf(value));
            if (HasCachingMode)
            {
                Submit(PasidCacheDescriptor | (1 << 4) | ((ulong)value.DomainId << 16) | ((ulong)pasid << 32), 0);
                InvalidatePasid(value.DomainId, pasid);
            }

            return 0;
        }
    }

    /// <summary>Switches dirty tracking of a second-stage or nested entry.</summary>
    internal void SetDirtyTracking(IommuDevice device, uint pasid, bool enable)
    {
        const ulong Ssade = 1 << 9;
        lock (_lock)
        {
            var entry = FindPasid(device, pasid, allocate: false);
            if (entry == 0 || !_memory.Read64(entry, out var low) || (low & 1) == 0)
            {
                return;
            }

            _memory.Read64(entry + 8, out var high);
            _memory.Write64(entry, enable ? low | Ssade : low & ~Ssade);
            var domainId = (int)high & 0xffff;
            Submit(PasidCacheDescriptor | (1 << 4) | ((ulong)domainId << 16) | ((ulong)pasid << 32), 0);
            InvalidateIoTlb(granularity: 2, domainId, 0, 0);
            InvalidatePasid(domainId, pasid);
        }
    }

    /// <summary>Takes a PASID's tables away: its DMA faults from now on (intel_pasid_tear_down_entry).</summary>
    internal void ClearPasid(IommuDevice device, uint pasid)
    {
        lock (_lock)
        {
            var entry = FindPasid(device, pasid, allocate: false);
            if (entry == 0 || !_memory.Read64(entry, out var low) || (low & 1) == 0)
            {
                return;
            }

            _memory.Read64(entry + 8, out var high);
            for (ulong word = 0; word < 64; word += 8)
            {
                _memory.Write64(entry + word, 0);
            }

            var domainId = (int)high & 0xffff;
            Submit(PasidCacheDescriptor | (1 << 4) | ((ulong)domainId << 16) | ((ulong)pasid << 32), 0);
            if ((Transfer)((low >> 6) & 7) == Transfer.SecondStage)
            {
                InvalidateIoTlb(granularity: 2, domainId, 0, 0);
            }
            else
            {
                InvalidatePasid(domainId, pasid);
            }

            InvalidateDeviceTlb(device, pasid, 0, ulong.MaxValue);
        }
    }

    /// <summary>Invalidates all first-stage translations of a PASID.</summary>
    internal void InvalidatePasid(int domainId, uint pasid) =>
        Submit(PasidIoTlbDescriptor | (2 << 4) | ((ulong)domainId << 16) | ((ulong)pasid << 32), 0);

    /// <summary>Invalidates first-stage translations of a range of a PASID.</summary>
    internal void InvalidatePasidPages(int domainId, uint pasid, ulong first, ulong last)
    {
        const int MostOrder = 18;
        var order = Align(ref first, last);
        if (order > MostOrder)
        {
            InvalidatePasid(domainId, pasid);
            return;
        }

        Submit(PasidIoTlbDescriptor | (3 << 4) | ((ulong)domainId << 16) | ((ulong)pasid << 32), first | (uint)order);
    }

    private static ulong LowOf(in PasidEntry value) =>
        value.SecondTable | ((ulong)value.Transfer << 6) | ((uint)value.AddressWidth << 2) | (value.TracksDirty ? 1u << 9 : 0) | 1;

    // Where the entry is; 0 when there is no table yet and none is to be made, or no memory for it.
    private ulong FindPasid(IommuDevice device, uint pasid, bool allocate)
    {
        var requesterId = device.ContextId;
        var rootEntry = _root + ((ulong)(requesterId >> 8) * 16) + ((ulong)((requesterId >> 7) & 1) * 8);
        if (!Descend(rootEntry, allocate, out var contexts))
        {
            return 0;
        }

        var context = contexts + ((ulong)(requesterId & 0x7f) * 32);
        _memory.Read64(context, out var low);
        if ((low & 1) == 0)
        {
            if (!allocate)
            {
                return 0;
            }

            // The directory is as large as the device's PASIDs need.
            var entriesLg2 = Math.Max(SmallestDirectoryLg2, BitOperations.Log2(Math.Max(device.MaxPasids, 1)) - 6);
            low = _memory.Allocate(entriesLg2 + 3);
            if (low == 0)
            {
                return 0;
            }

            low |= ((ulong)(entriesLg2 - 7) << 9) | (device.MaxPasids != 0 && HasPasids ? 8u : 0)
                | (device.HasDeviceTlb ? 4u : 0) | (device.HasPageRequests ? 16u : 0) | 1;
            _memory.Write64(context + 8, 0);
            _memory.Write64(context, low);
            _requesters[requesterId] = device;
            if (HasCachingMode)
            {
                InvalidateContext(granularity: 3, 0, requesterId);
                InvalidateIoTlb(granularity: 1, 0, 0, 0);
            }
        }

        return Descend((low & ~0xfffUL) + ((ulong)(pasid >> 6) * 8), allocate, out var table) ? table + ((ulong)(pasid & 0x3f) * 64) : 0;
    }

    private bool Descend(ulong entry, bool allocate, out ulong table)
    {
        _memory.Read64(entry, out var value);
        if ((value & 1) == 0 && allocate)
        {
            value = _memory.Allocate();
            if (value != 0)
            {
                value |= 1;
                _memory.Write64(entry, value);
            }
        }

        table = value & ~0xfffUL;
        return (value & 1) != 0;
    }

    private void Submit(ulong low, ulong high)
    {
        lock (_lock)
        {
            var at = _queue + (ulong)_tail;
            _memory.Write64(at, low);
            _memory.Write64(at + 8, high);
            _memory.Write64(at + 16, 0);
            _memory.Write64(at + 24, 0);
            _tail = (_tail + DescriptorBytes) % QueueBytes;
            Unit.WriteRegister(VtdRegister.IQT, 8, (ulong)_tail);
        }
    }
}
