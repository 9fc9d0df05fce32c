using System.Globalization;

namespace IommuFd.HwSim.PageTables;

/// <summary>The face of one format.</summary>
/// <typeparam name="TFormat">The format.</typeparam>
/// <param name="name">The name it was found by.</param>
/// <param name="geometry">The configuration.</param>
internal sealed class PageTableTool<TFormat>(string name, PageTableGeometry geometry) : PageTableTool(name, geometry)
    where TFormat : struct, IPageTableFormat
{
    public override int EntryBytes => 1 << TFormat.EntrySizeLg2;

    public override bool Translate(PhysicalMemory memory, ulong root, ulong address, WalkAccess access, out WalkResult result)
    {
        var reader = new DirectTableReader(memory);
        return TableWalk.Walk<TFormat, DirectTableReader>(Geometry, root, ref reader, address, access, out result);
    }

    public override WalkExplanation Walk(PhysicalMemory memory, ulong root, ulong address, WalkAccess access)
    {
        List<StepExplanation> steps = [];
        var high = Geometry.InputBits - 1;
        var walked = new PageTableWalker<TFormat>(memory, Geometry, root).Explain(address, access, out var result);
        foreach (var step in walked)
        {
            var low = TFormat.ItemSizeLg2(Geometry, step.Level);
            steps.Add(new StepExplanation(step, high, low, Decode(step.Level, step.Entry)));
            high = low - 1;
        }

        return new WalkExplanation(steps, result, Verdict(result, address));
    }

    public override EntryExplanation Decode(int level, ulong entry)
    {
        var geometry = Geometry;
        List<(string, string)> fields = [];
        var kind = TFormat.KindOf(geometry, level, entry);
        if (kind is EntryKind.Empty or EntryKind.Reserved)
            return new EntryExplanation(kind, fields, kind == EntryKind.Empty ? "not present" : "an encoding that the data book reserves: a fault");
        var reserved = TFormat.ReservedBits(geometry, level, entry);
        if (kind == EntryKind.Table)
        {
            var next = TFormat.NextLevel(geometry, level, entry);
            var table = TFormat.TableAddress(geometry, entry);
            fields.Add(("table", Hex(table)));
            fields.Add(("level", next.ToString(CultureInfo.InvariantCulture)));
            fields.Add(("allows", Words(TFormat.TableLimits(geometry, entry))));
            return new EntryExplanation(kind, fields, reserved != 0 ? ReservedText(reserved)
                : (uint)next >= (uint)level ? $"names level {next}, which is not below level {level}: a fault"
                : TooWide(table) ?? $"go on at level {next} in the table at {Hex(table)}");
        }

        var sizeLg2 = TFormat.LeafSizeLg2(geometry, level, entry);
        var output = TFormat.LeafAddress(geometry, level, entry);
        fields.Add(("page", Hex(output)));
        fields.Add(("size", sizeLg2 < 0 ? "not a size" : Size(sizeLg2)));
        fields.Add(("allows", Words(TFormat.Attributes(geometry, level, entry))));
        var item = TFormat.ItemSizeLg2(geometry, level);
        var align = TFormat.ContiguousStep(1) != 0 ? item : sizeLg2;
        return new EntryExplanation(kind, fields, reserved != 0 ? ReservedText(reserved)
            : sizeLg2 < item ? "its size is not one of this level: a fault"
            : (output & ((1UL << align) - 1)) != 0 ? $"{Hex(output)} is not a multiple of {Size(align)}: a fault"
            : TooWide(output) ?? $"maps {Size(sizeLg2)} to {Hex(output)}");
    }

    public override IEnumerable<PageTableLeaf> Leaves(PhysicalMemory memory, ulong root) =>
        new PageTableWalker<TFormat>(memory, Geometry, root).Leaves();

    public override IPageTableBuilder Build(PhysicalMemory memory) => new Builder(new PageTable<TFormat>(memory, Geometry));

    private string Verdict(in WalkResult result, ulong address) => result.Fault switch
    {
        WalkFault.None => $"{Hex(address)} -> {Hex(result.Output)} in a page of {Size(result.SizeLg2)}; allowed: {Words(result.Attributes)}",
        WalkFault.AddressTooWide => $"no translation: {Hex(address)} is not an address of {Geometry.InputBits} bits"
            + (Geometry.Has(PageTableFeatures.SignExtend) ? " (sign-extended)" : ""),
        WalkFault.NotPresent => $"no translation: the entry at {Hex(result.EntryAddress)} is not present",
        WalkFault.ReservedBits => $"no translation: the entry at {Hex(result.EntryAddress)} has reserved bits or a reserved form",
        WalkFault.Misaligned => $"no translation: the page of the entry at {Hex(result.EntryAddress)} is not a multiple of its size",
        WalkFault.OutputTooWide => $"no translation: the address in the entry at {Hex(result.EntryAddress)} is wider than {Geometry.OutputBits} bits",
        WalkFault.TableOutsideMemory => $"no translation: the entry at {Hex(result.EntryAddress)} is not in memory",
        WalkFault.AccessFlag => $"refused: the accessed (or dirty) bit of the entry at {Hex(result.EntryAddress)} is clear",
        WalkFault.Privilege => "refused: the page is not open to requests of this privilege",
        _ => $"refused: {(result.Fault == WalkFault.Write ? "a write" : result.Fault == WalkFault.Read ? "a read" : "an instruction fetch")} is not"
            + " allowed; allowed: "
            + Words(result.Attributes),
    };

    private string? TooWide(ulong address) => address >> Geometry.OutputBits != 0
        ? $"{Hex(address)} is wider than {Geometry.OutputBits} bits: a fault"
        : null;

    private static string ReservedText(ulong bits) => $"reserved bits {Hex(bits)} are set: a fault";

    private static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");

    private static string Words(PageAttributes attributes) =>
        attributes == PageAttributes.None ? "nothing" : attributes.ToString().Replace(",", "", StringComparison.Ordinal).ToLowerInvariant();

    private static string Size(int lg2) => (lg2 / 10) switch
    {
        1 => $"{1 << (lg2 - 10)} KiB",
        2 => $"{1 << (lg2 - 20)} MiB",
        3 => $"{1 << (lg2 - 30)} GiB",
        4 => $"{1 << (lg2 - 40)} TiB",
        _ => $"2^{lg2} bytes",
    };

    private sealed class Builder(PageTable<TFormat> table) : IPageTableBuilder
    {
        public ulong Root => table.Root;

        public int Map(ulong address, ulong output, ulong length, PageAttributes attributes) => table.Map(address, output, length, attributes);

        public void Dispose() => table.Dispose();
    }
}
