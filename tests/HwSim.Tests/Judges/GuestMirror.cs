using HwSim.Tests.Judges.Qemu;
using IommuFd.HwSim;

namespace HwSim.Tests.Judges;

/// <summary>Keeps the guest's RAM equal to our arena: the same bytes at the same physical addresses. Only pages that changed are sent.</summary>
public sealed unsafe class GuestMirror(QtestClient qtest, PhysicalMemory memory)
{
    private readonly Dictionary<ulong, byte[]> _sent = [];

    /// <summary>Memory with its arena where the guest has RAM.</summary>
    public static PhysicalMemory NewMemory(ulong ramBase, int addressBits) => new(new PhysicalMemoryOptions
    {
        ArenaBase = ramBase + (2 << 20),
        ArenaSize = 30 << 20,
        PinnedBase = 0x10_0000_0000,
        AddressBits = addressBits,
    });

    /// <summary>Queues every page of the arena that differs from what the guest has.</summary>
    public void Export()
    {
        for (ulong at = 0; at < memory.HighWaterBytes; at += PhysicalMemory.PageSize)
        {
            var address = memory.Options.ArenaBase + at;
            // SAFETY: the arena holds the whole page.
            var page = new ReadOnlySpan<byte>(memory.TryGet(address, PhysicalMemory.PageSize), (int)PhysicalMemory.PageSize);
            if (!_sent.TryGetValue(address, out var known))
                _sent.Add(address, known = new byte[PhysicalMemory.PageSize]);
            if (page.SequenceEqual(known))
                continue;
            page.CopyTo(known);
            qtest.WriteBlock(address, page);
        }
    }

    /// <summary>The first 64-bit word of the arena that the guest's side changed and ours did not, or the other way round; null when all are equal.</summary>
    public (ulong Address, ulong Ours, ulong Theirs)? FirstDifference()
    {
        var theirs = qtest.ReadBlock(memory.Options.ArenaBase, (int)memory.HighWaterBytes);
        // SAFETY: the arena holds all that was handed out.
        var ours = new ReadOnlySpan<byte>(memory.TryGet(memory.Options.ArenaBase, memory.HighWaterBytes), theirs.Length);
        var at = ours.CommonPrefixLength(theirs) & ~7;
        if (at == theirs.Length)
        {
            for (ulong page = 0; page < memory.HighWaterBytes; page += PhysicalMemory.PageSize)
                _sent[memory.Options.ArenaBase + page] = ours.Slice((int)page, (int)PhysicalMemory.PageSize).ToArray();
            return null;
        }

        return (memory.Options.ArenaBase + (ulong)at, BitConverter.ToUInt64(ours[at..]), BitConverter.ToUInt64(theirs, at));
    }
}
