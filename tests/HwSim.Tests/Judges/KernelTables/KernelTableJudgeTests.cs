using System.Globalization;
using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using Xunit;

namespace HwSim.Tests.Judges.KernelTables;

/// <summary>
/// For the same sequence of maps and unmaps our table is the kernel's, entry by entry: the same levels, page sizes and bits; pages at the addresses
/// that /proc/self/pagemap says, tables in one-to-one correspondence. <c>scripts/kernel-tables</c> makes the files from a real kernel.
/// </summary>
public class KernelTableJudgeTests
{
    [Fact]
    public void Second_stage() => Compare<VtdSecondStage>("legacy", "vtd-ss", VtdSecondStage.Geometry(48), 1 << 10);

    [Fact]
    public void First_stage() => Compare<X64>("flts", "x86-64", X64.Geometry(48), 1 << 9);

    /// <param name="softwareBit">A bit of table entries that hardware ignores: the kernel notes there that the table was flushed from the CPU's
    /// cache.</param>
    private static void Compare<TFormat>(string mode, string format, PageTableGeometry geometry, ulong softwareBit)
        where TFormat : struct, IPageTableFormat
    {
        var folder = Environment.GetEnvironmentVariable("VFIO_KERNEL_TABLES");
        Assert.SkipWhen(folder == null, "VFIO_KERNEL_TABLES does not name a folder of scripts/kernel-tables");
        var sequences = KernelSequence.Read(Path.Combine(folder!, mode)).ToList();
        var run = new JudgeRun("Linux 7.3 (debugfs)", $"{format}, {sequences.Count} map and unmap sequences", 1, 1);
        foreach (var sequence in sequences)
        {
            using var memory = new PhysicalMemory(new PhysicalMemoryOptions { AddressBits = 52 });
            using var table = new PageTable<TFormat>(memory, geometry);
            foreach (var change in sequence.Changes)
                Apply(table, change);
            CompareTable(run, sequence, table, softwareBit);
        }

        run.Finish();
    }

    // As iommufd does: one map for each physically contiguous run.
    private static void Apply<TFormat>(PageTable<TFormat> table, KernelChange change)
        where TFormat : struct, IPageTableFormat
    {
        if (change.Runs.Count == 0)
        {
            Assert.Equal(change.Length, table.Unmap(change.Iova, change.Length));
            return;
        }

        // Linux marks first-stage pages as used at once, so that hardware need not write; the second stage has no such bits here.
        var attributes = PageAttributes.User
            | (typeof(TFormat) == typeof(X64)
                ? PageAttributes.Execute | PageAttributes.Accessed | ((change.Flags & 2) != 0 ? PageAttributes.Dirty : 0) : 0)
            | ((change.Flags & 4) != 0 ? PageAttributes.Read : 0) | ((change.Flags & 2) != 0 ? PageAttributes.Write : 0);
        var at = change.Iova;
        foreach (var (pfn, pages) in change.Runs)
        {
            Assert.Equal(0, table.Map(at, pfn << 12, pages << 12, attributes));
            at += pages << 12;
        }
    }

    private static void CompareTable<TFormat>(JudgeRun run, KernelSequence sequence, PageTable<TFormat> table, ulong softwareBit)
        where TFormat : struct, IPageTableFormat
    {
        var geometry = table.Geometry;
        Dictionary<ulong, ulong> ours = [];
        Dictionary<ulong, ulong> theirs = [];
        var leaves = table.Walker.Leaves().ToDictionary(static leaf => leaf.Address);
        foreach (var dumped in sequence.Leaves)
        {
            var steps = table.Walker.Explain(dumped.Iova, WalkAccess.None, out var result);
            var levels = dumped.Path.Length - 1;
            run.Compare(result.Ok ? levels - result.Level : -1, Array.FindLastIndex(dumped.Path, static entry => entry != 0), static () => null,
                () => $"sequence {sequence.Number}, level of the page at 0x{dumped.Iova:x}");
            foreach (var step in steps)
            {
                var their = dumped.Path[levels - step.Level];
                var our = step.Entry;
                if (step.Kind == EntryKind.Table)
                {
                    // Where the tables are differs; which table an entry means must not.
                    var (a, b) = (TFormat.TableAddress(geometry, our), TFormat.TableAddress(geometry, their));
                    run.Compare(true, ours.TryAdd(a, b) ? theirs.TryAdd(b, a) : ours[a] == b && theirs[b] == a, static () => null,
                        () => $"sequence {sequence.Number}, tables 0x{a:x} and 0x{b:x} at 0x{dumped.Iova:x}");
                    our &= ~a;
                    their &= ~(b | softwareBit);
                }

                run.Compare(our, their, static () => null,
                    () => $"sequence {sequence.Number}, entry of level {step.Level} at 0x{dumped.Iova:x}: 0x{our:x} and 0x{their:x}");
            }

            leaves.Remove(dumped.Iova);
        }

        run.Compare(0, leaves.Count, static () => null, () => $"sequence {sequence.Number}: pages of ours that the kernel does not have");
    }
}
