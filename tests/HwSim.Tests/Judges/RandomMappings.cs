using IommuFd.HwSim.PageTables;

namespace HwSim.Tests.Judges;

/// <summary>Random mappings of a table and random addresses to ask it for: inside, at the edges, just beyond, and anywhere.</summary>
public sealed class RandomMappings(Random random)
{
    private readonly List<(ulong Iova, ulong Length, ulong Output)> _areas = [];

    /// <summary>What was mapped.</summary>
    public IReadOnlyList<(ulong Iova, ulong Length, ulong Output)> Areas => _areas;

    /// <summary>Maps areas of every page size at random places of a table.</summary>
    /// <param name="table">The table.</param>
    /// <param name="count">Areas to try.</param>
    /// <param name="outputs">Where the areas go: ranges of physical addresses.</param>
    /// <param name="permissions">What an area may allow.</param>
    /// <param name="alignLg2">log2 of what outputs are multiples of, at least.</param>
    public void Fill<TFormat>(
        PageTable<TFormat> table, int count, (ulong First, ulong Last)[] outputs, PageAttributes[] permissions, int alignLg2 = 0)
        where TFormat : struct, IPageTableFormat
    {
        _areas.Clear();
        var granule = 1UL << table.Geometry.GranuleLg2;
        var mask = table.Geometry.InputMask;
        if (table.Geometry.Has(PageTableFeatures.SignExtend))
            mask >>= 1;
        for (var i = 0; i < count; i++)
        {
            var sizes = table.PageSizes;
            for (var skip = random.Next(3); skip > 0 && (sizes & (sizes - 1)) != 0; skip--)
                sizes &= sizes - 1;
            var size = sizes & (0 - sizes);
            var (first, last) = outputs[random.Next(outputs.Length)];
            if (last - first < size * 2)
                size = granule;
            var output = (first + ((ulong)random.NextInt64() % (last - first))) & ~(Math.Max(size, 1UL << alignLg2) - 1);
            // Near the last area as often as anywhere, so that tables are shared.
            var iova = _areas.Count > 0 && random.Next(2) == 0
                ? _areas[^1].Iova + (((ulong)random.Next(1, 16)) * size)
                : (ulong)random.NextInt64() & (mask >> random.Next(20));
            iova &= ~(size - 1) & mask;
            var length = random.Next(3) == 0 ? size + (granule * (ulong)random.Next(4)) : size;
            if (output < first || output + length - 1 > last || iova + length - 1 > mask || iova >> 20 == 0xFEE)
                continue;
            if (table.Geometry.Has(PageTableFeatures.SignExtend) && random.Next(3) == 0)
                iova |= ~mask;
            if (table.Map(iova, output, length, permissions[random.Next(permissions.Length)]) == 0)
                _areas.Add((iova, length, output));
        }
    }

    /// <summary>An address to ask for, a multiple of 4.</summary>
    /// <param name="inputBits">Width of the table's addresses.</param>
    public ulong Probe(int inputBits)
    {
        var any = (ulong)random.NextInt64() << 1;
        var address = any >> random.Next(64);
        if (_areas.Count > 0)
        {
            var (iova, length, _) = _areas[random.Next(_areas.Count)];
            address = random.Next(10) switch
            {
                < 6 => iova + (any % length),
                6 => iova + length - 4,
                7 => iova + length,
                8 => iova ^ (1UL << random.Next(12, 64)),
                _ => random.Next(4) == 0 ? address : any & ((1UL << inputBits) - 1),
            };
        }

        // Interrupt messages are not memory.
        return address >> 20 == 0xFEE ? 0 : address & ~3UL;
    }
}
