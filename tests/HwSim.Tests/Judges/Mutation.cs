namespace HwSim.Tests.Judges;

/// <summary>Damages entries.</summary>
public static class Mutation
{
    /// <summary>The entry with one to three bits flipped, or noise.</summary>
    /// <param name="random">Chooses.</param>
    /// <param name="entry">The entry.</param>
    /// <param name="bits">Its width.</param>
    public static ulong Of(Random random, ulong entry, int bits)
    {
        if (random.Next(16) == 0)
            return ((ulong)random.NextInt64() << 1) & (ulong.MaxValue >> (64 - bits));
        for (var flips = random.Next(1, 4); flips > 0; flips--)
            entry ^= 1UL << (random.Next(2) == 0 ? random.Next(12) : random.Next(bits));
        return entry;
    }
}
