using System.Runtime.CompilerServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A fault region that the user has mapped: records in shared memory, a head that the kernel counts up and a tail that the user does. The kernel
/// keeps its own count of what it wrote and believes the user nothing but the tail, and that only when it is possible; with an impossible one there
/// is no room.
/// </summary>
// SAFETY (whole class): the mapping is ours alone, lives as long as the object, and its file cannot shrink; slots are inside it by construction.
internal sealed unsafe class RfcFaultRing : IDisposable
{
    private const uint Start = 4096;

    private readonly byte* _memory;
    private readonly nuint _length;
    private readonly uint _capacity;
    private ulong _head;

    private RfcFaultRing(int descriptor, byte* memory, nuint length, uint capacity)
    {
        Descriptor = descriptor;
        _memory = memory;
        _length = length;
        _capacity = capacity;
        Header = new iommu_ioasid_fault_ring { nr_records = capacity, record_size = (uint)sizeof(iommu_ioasid_fault), offset = Start };
    }

    /// <summary>The memory file.</summary>
    internal int Descriptor { get; }

    /// <summary>True while there is a record that the user has not consumed.</summary>
    internal bool HasRecords => Used is not 0 and not null;

    private ref iommu_ioasid_fault_ring Header => ref Unsafe.AsRef<iommu_ioasid_fault_ring>(_memory);

    // Records that wait; null when the user's tail is impossible.
    private ulong? Used => _head - Volatile.Read(ref Header.tail) is var used && used <= _capacity ? used : null;

    /// <summary>Bytes of a region with room for some records, in whole pages.</summary>
    internal static ulong Size(uint capacity) => Start + ((((ulong)capacity * (uint)sizeof(iommu_ioasid_fault)) + 4095) & ~4095UL);

    /// <summary>An empty ring; null when the host has no memory for it.</summary>
    internal static RfcFaultRing? Make(uint capacity)
    {
        var length = (nuint)Size(capacity);
        int descriptor = Libc.MemFdCreate("ioasid-fault", Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING);
        if (descriptor < 0)
        {
            return null;
        }

        nint memory = Libc.Ftruncate(descriptor, (long)length) == 0
            && Libc.Fcntl(descriptor, Libc.F_ADD_SEALS, Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW) == 0
            ? Libc.Mmap(0, length, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, descriptor, 0)
            : -1;
        if (memory == -1)
        {
            _ = Libc.Close(descriptor);
            return null;
        }

        return new RfcFaultRing(descriptor, (byte*)memory, length, capacity);
    }

    /// <summary>Writes records; false when they do not all fit.</summary>
    internal bool TryAdd(ReadOnlySpan<iommu_ioasid_fault> records)
    {
        if (Used is not { } used || (ulong)records.Length > _capacity - used)
        {
            return false;
        }

        foreach (iommu_ioasid_fault record in records)
        {
            *Slot(_head++) = record;
        }

        Volatile.Write(ref Header.head, _head);
        return true;
    }

    /// <summary>read(2): takes the next record that is not ended, as the user would.</summary>
    internal bool TryTake(out iommu_ioasid_fault record)
    {
        while (HasRecords)
        {
            ulong tail = Volatile.Read(ref Header.tail);
            record = *Slot(tail);
            Volatile.Write(ref Header.tail, tail + 1);
            if ((record.flags & Rfc.IOMMU_IOASID_FAULT_ENDED) == 0)
            {
                return true;
            }
        }

        record = default;
        return false;
    }

    /// <summary>Takes back a record that read(2) could not deliver.</summary>
    internal void Return() => Volatile.Write(ref Header.tail, Volatile.Read(ref Header.tail) - 1);

    /// <summary>Marks the records of a request that was answered.</summary>
    internal void End(uint id)
    {
        for (ulong i = _head - (Used ?? 0); i != _head; i++)
        {
            if (Slot(i)->fault_id == id)
            {
                Slot(i)->flags |= Rfc.IOMMU_IOASID_FAULT_ENDED;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ = Libc.Munmap((nint)_memory, _length);
        _ = Libc.Close(Descriptor);
    }

    private iommu_ioasid_fault* Slot(ulong counter) => (iommu_ioasid_fault*)(_memory + Start) + (counter % _capacity);
}
