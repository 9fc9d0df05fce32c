namespace IommuFd.HwSim.Units;

/// <summary>
/// A GICv3 interrupt translation service: a message to its register, with the sender's id, is the event that software gave the device (Arm IHI 0069,
/// chapter 5). The register is a place in physical memory, so that an IOMMU translates what devices write there like any other write.
/// </summary>
/// <remarks>
/// Does not model: its tables in memory and its command queue (software calls <see cref="Map"/> instead of MAPD and MAPTI), LPI configuration
/// and pending tables, collections. A page that a translation leads to and that is not the register's is no memory.
/// </remarks>
public sealed class GicIts
{
    /// <summary>Physical address of GITS_TRANSLATER, as on QEMU's virt machine: the ITS at 0x08080000, its second frame, offset 0x40.</summary>
    public const ulong Translater = 0x0809_0040;

    private readonly Lock _gate = new();

    // Sorted by first event; replaced as a whole.
    private readonly Dictionary<ushort, Events[]> _devices = [];

    private sealed record Events(uint First, uint Count, Action<uint> Target);

    /// <summary>Gives a device events, the next that are free.</summary>
    /// <param name="deviceId">The device: its requester id.</param>
    /// <param name="count">How many events; their first is a multiple of the next power of two, as multi-message MSI wants it.</param>
    /// <param name="target">Called for each message, with the number of the event counted from the first; it must not block.</param>
    /// <returns>The first event.</returns>
    public uint Map(ushort deviceId, uint count, Action<uint> target)
    {
        ArgumentNullException.ThrowIfNull(target);
        var alignment = System.Numerics.BitOperations.RoundUpToPowerOf2(count);
        lock (_gate)
        {
            Events[] before = _devices.GetValueOrDefault(deviceId) ?? [];
            uint first = 0;
            var at = 0;
            for (; at < before.Length && before[at].First < first + count; at++)
                first = (before[at].First + before[at].Count + alignment - 1) & ~(alignment - 1);
            _devices[deviceId] = [.. before[..at], new Events(first, count, target), .. before[at..]];
            return first;
        }
    }

    /// <summary>Takes back what <see cref="Map"/> gave.</summary>
    /// <param name="deviceId">The device.</param>
    /// <param name="first">The first event.</param>
    public void Unmap(ushort deviceId, uint first)
    {
        lock (_gate)
        {
            if (!_devices.TryGetValue(deviceId, out var events))
                return;
            events = Array.FindAll(events, e => e.First != first);
            if (events.Length == 0)
                _devices.Remove(deviceId);
            else
                _devices[deviceId] = events;
        }
    }

    /// <summary>A write of a device arrived at a physical address where there is no memory.</summary>
    /// <param name="deviceId">Who wrote.</param>
    /// <param name="address">Where.</param>
    /// <param name="eventId">What.</param>
    /// <param name="length">Bytes: the register takes 2 and 4.</param>
    /// <returns>True when it was the register, also for an event that is nobody's.</returns>
    public bool TryWrite(ushort deviceId, ulong address, uint eventId, ulong length)
    {
        if (address != Translater || length is not (2 or 4))
            return false;
        Events? found;
        lock (_gate)
            found = Array.Find(_devices.GetValueOrDefault(deviceId) ?? [], e => eventId - e.First < e.Count);
        found?.Target(eventId - found.First);
        return true;
    }
}
