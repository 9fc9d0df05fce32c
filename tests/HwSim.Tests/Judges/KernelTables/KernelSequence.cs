using System.Globalization;

namespace HwSim.Tests.Judges.KernelTables;

/// <summary>A map (with its physical runs) or an unmap (without).</summary>
public sealed record KernelChange(ulong Iova, ulong Length, uint Flags, List<(ulong Pfn, ulong Pages)> Runs);

/// <summary>A page as debugfs prints it: the entries on the way to it, from level 5 to level 1, 0 where there is none.</summary>
public sealed record KernelLeaf(ulong Iova, ulong[] Path);

/// <summary>One sequence that tests/KernelTables ran, and the table it left.</summary>
public sealed record KernelSequence(int Number, List<KernelChange> Changes, List<KernelLeaf> Leaves)
{
    public static IEnumerable<KernelSequence> Read(string file)
    {
        KernelSequence? sequence = null;
        foreach (var line in File.ReadLines(file))
        {
            var words = line.Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
            switch (words)
            {
                case ["S", var number]:
                    if (sequence != null)
                        yield return sequence;
                    sequence = new KernelSequence(int.Parse(number, CultureInfo.InvariantCulture), [], []);
                    break;
                case ["M", var iova, var length, var flags, _]:
                    sequence!.Changes.Add(new KernelChange(Hex(iova), Hex(length), (uint)Hex(flags), []));
                    break;
                case ["P", var pfn, var pages]:
                    sequence!.Changes[^1].Runs.Add((Hex(pfn), Hex(pages)));
                    break;
                case ["U", var iova, var length]:
                    sequence!.Changes.Add(new KernelChange(Hex(iova), Hex(length), 0, []));
                    break;
                case ["D", var pfn, "|", .. var path] when pfn.StartsWith("0x", StringComparison.Ordinal):
                    // Upper levels first; a page of a higher level ends the line early.
                    var entries = new ulong[5];
                    for (var i = 0; i < path.Length; i++)
                        entries[i] = Hex(path[i][2..]);
                    sequence!.Leaves.Add(new KernelLeaf(Hex(pfn[2..]) << 12, entries));
                    break;
                default:
                    break;
            }
        }

        if (sequence != null)
            yield return sequence;
    }

    private static ulong Hex(string text) => ulong.Parse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
}
