namespace IommuFd.HwSim;

// SAFETY: an attached range is checked whole before its pointer is given out.
public sealed unsafe partial class PhysicalMemory
{
    private readonly record struct AttachedRange(ulong Address, ulong Length, nint Host);

    // Replaced as a whole, never changed in place: readers take no lock.
    private AttachedRange[] _attached = [];

    /// <summary>Puts host memory at a fixed physical address: a memory image from a file, a VMM's RAM.</summary>
    /// <param name="address">Physical address; outside the arena and outside what is attached already.</param>
    /// <param name="host">Host memory, which stays mapped until <see cref="Detach"/>.</param>
    /// <param name="length">Bytes, at least 1.</param>
    /// <exception cref="ArgumentException">The range is empty, wraps, or overlaps the arena or another attached range.</exception>
    public void Attach(ulong address, void* host, ulong length)
    {
        if (length == 0 || host == null || address + length - 1 < address)
            throw new ArgumentException("An attached range has at least one byte and does not wrap.", nameof(length));
        lock (_gate)
        {
            if (Overlaps(address, length, Options.ArenaBase, Options.ArenaSize))
                throw new ArgumentException($"0x{address:x} overlaps the arena.", nameof(address));
            foreach (var other in _attached)
            {
                if (Overlaps(address, length, other.Address, other.Length))
                    throw new ArgumentException($"0x{address:x} overlaps memory attached at 0x{other.Address:x}.", nameof(address));
            }

            _attached = [.. _attached, new AttachedRange(address, length, (nint)host)];
        }
    }

    /// <summary>Takes away what <see cref="Attach"/> put at this address.</summary>
    /// <param name="address">The range's first address.</param>
    /// <returns>False when nothing was attached there.</returns>
    public bool Detach(ulong address)
    {
        lock (_gate)
        {
            var before = _attached.Length;
            _attached = Array.FindAll(_attached, r => r.Address != address);
            return _attached.Length != before;
        }
    }

    private static bool Overlaps(ulong a, ulong aLength, ulong b, ulong bLength) => a <= b + (bLength - 1) && b <= a + (aLength - 1);

    private byte* TryGetAttached(ulong address, ulong length)
    {
        foreach (ref readonly var range in _attached.AsSpan())
        {
            var offset = address - range.Address;
            if (offset < range.Length && length <= range.Length - offset)
                return (byte*)range.Host + offset;
        }

        return null;
    }
}
