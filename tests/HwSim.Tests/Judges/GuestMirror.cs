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

    /// <summary>The 64-bit words of the arena that differ between the two sides. The next export makes them equal again.</summary>
    public IReadOnlyList<(ulong Address, ulong Ours, ulong Theirs)> Differences()
    {
        var theirs = qtest.ReadBlock(memory.Options.ArenaBase, (int)memory.HighWaterBytes);
        List<(ulong, ulong, ulong)> differences = [];
        for (var at = 0; at < theirs.Length; at += 8)
        {
            var word = BitConverter.ToUInt64(theirs, at);
            memory.Read64(memory.Options.ArenaBase + (ulong)at, out var ours);
            if (ours != word)
                differences.Add((memory.Options.ArenaBase + (ulong)at, ours, word));
        }

        for (var page = 0; page < theirs.Length; page += (int)PhysicalMemory.PageSize)
            _sent[memory.Options.ArenaBase + (ulong)page] = theirs[page..(page + (int)PhysicalMemory.PageSize)];
        return differences;
    }
}
