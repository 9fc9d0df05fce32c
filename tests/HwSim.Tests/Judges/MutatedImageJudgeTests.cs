using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Judges;

/// <summary>
/// Tables and structures that were damaged: no walk throws, hangs, or touches memory outside the image. The judge is the processor: the image lies
/// between guard pages.
/// </summary>
public class MutatedImageJudgeTests
{
    private const int Shorter = 800, Full = 90_000, UnitShorter = 4_000, UnitFull = 100_000;
    private const ulong At = 0x20_0000;

    public static IEnumerable<TheoryDataRow<string>> Formats => PageTableFormats.Names.Select(static name => new TheoryDataRow<string>(name));

    [Theory]
    [MemberData(nameof(Formats))]
    public void Page_tables(string name)
    {
        var run = new JudgeRun("guard pages", "mutated images, " + name, Shorter, Full);
        var tool = PageTableFormats.Find(name)!;
        using var built =
            new PhysicalMemory(new PhysicalMemoryOptions { AddressBits = 52, ArenaBase = At, ArenaSize = 64 << 20, PinnedBase = 1UL << 51 });
        using var table = tool.Build(built);
        var granule = 1UL << tool.Geometry.GranuleLg2;
        List<ulong> mapped = [];
        for (var i = 0; i < 24; i++)
        {
            var iova = (ulong)run.Random.NextInt64() & (tool.Geometry.InputMask >> (1 + run.Random.Next(12))) & ~(granule - 1);
            var output = (ulong)run.Random.NextInt64() & 0xFFFF_0000 & ~(granule - 1);
            var length = granule << run.Random.Next(6);
            if (table.Map(iova, output, length, PageAttributes.Read | PageAttributes.Write | PageAttributes.User | PageAttributes.Accessed) == 0)
                mapped.Add(iova);
        }

        using var image = new GuardedImage(At, (int)Math.Min(built.HighWaterBytes, 4 << 20));
        var pristine = Copy(built, image.Words);
        pristine.CopyTo(image.Content);
        while (run.Cases < run.Goal)
        {
            Mutate(run.Random, image, pristine);
            for (var i = 0; i < 3; i++)
            {
                var iova = mapped.Count > 0 && i < 2 ? mapped[run.Random.Next(mapped.Count)] : (ulong)run.Random.NextInt64() << 1;
                tool.Translate(image.Memory, table.Root, iova, (WalkAccess)run.Random.Next(256), out var result);
                run.Compare(true, result.Level >= 0 && result.Level <= tool.Geometry.TopLevel, static () => null, () => $"level {result.Level}");
            }

            if (run.Random.Next(64) == 0)
            {
                _ = tool.Walk(image.Memory, table.Root, mapped.Count > 0 ? mapped[0] : 0, WalkAccess.Read);
                pristine.CopyTo(image.Content);
            }
        }

        run.Finish();
    }

    [Theory]
    [InlineData("vtd")]
    [InlineData("smmuv3")]
    [InlineData("riscv")]
    [InlineData("amd-vi")]
    public void Units(string kind)
    {
        var run = new JudgeRun("guard pages", "mutated images, whole unit " + kind, UnitShorter, UnitFull);
        using var image = new GuardedImage(At, 256 * 1024);
        var empty = new ulong[image.Words];
        while (run.Cases < run.Goal)
        {
            // Every page full of pointers into the image with any flags: chains of structures of every shape, loops included.
            foreach (ref var word in image.Content)
                word = run.Random.Next(8) switch
                {
                    0 => 0,
                    1 => (ulong)run.Random.NextInt64() << 1,
                    _ => At + ((ulong)(uint)run.Random.Next(64) << 12) | (ulong)(uint)run.Random.Next(4096),
                };
            var (unit, write) = Make(kind, image.Memory, run.Random);
            for (var i = 0; i < 256; i++)
            {
                Mutate(run.Random, image, empty);
                if (i % 16 == 0)
                    write();
                var pasid = run.Random.Next(2) == 0 ? DmaRequest.NoPasid : (uint)run.Random.Next(1 << 20) >> run.Random.Next(20);
                var request = new DmaRequest((ushort)run.Random.Next(65536), pasid, ((ulong)run.Random.NextInt64() << 1) >> run.Random.Next(60),
                    (DmaAccess)run.Random.Next(1, 64));
                var ok = unit.Translate(request, out var translation);
                run.Compare(true, !ok || translation.SizeLg2 is >= 12 and <= 63, static () => null, () => $"{request}: 2^{translation.SizeLg2}");
            }
        }

        run.Finish();
    }

    private static (IommuUnit Unit, Action Write) Make(string kind, PhysicalMemory memory, Random random)
    {
        var next = () => At + ((ulong)(uint)random.Next(64) << 12);
        switch (kind)
        {
            case "vtd":
                var vtd = new VtdUnit(memory);
                vtd.WriteRegister(0x20, 8, next() | ((ulong)(uint)random.Next(2) << 10));
                vtd.WriteRegister(0x18, 4, 0x4000_0000);
                vtd.WriteRegister(0x90, 8, next());
                vtd.WriteRegister(0x18, 4, 0x8400_0000);
                return (vtd, () => vtd.WriteRegister(0x88, 8, (ulong)(uint)random.Next(256) << 4));
            case "smmuv3":
                var smmu = new SmmuV3Unit(memory);
                smmu.WriteRegister(0x80, 8, next());
                smmu.WriteRegister(0x88, 4, random.Next(2) == 0 ? 16u : (1u << 16) | (6u << 6) | 16u);
                smmu.WriteRegister(0x90, 8, next() | 8);
                smmu.WriteRegister(0xa0, 8, next() | 7);
                smmu.WriteRegister(0x20, 4, 0xd);
                return (smmu, () => smmu.WriteRegister(0x98, 4, (ulong)(uint)random.Next(512)));
            case "amd-vi":
                var amd = new AmdViUnit(memory);
                amd.WriteRegister(AmdRegister.DEV_TAB_BASE, 8, next() | (ulong)(uint)random.Next(512));
                amd.WriteRegister(AmdRegister.CMD_BUF_BASE, 8, next() | 8UL << 56);
                amd.WriteRegister(AmdRegister.EVT_LOG_BASE, 8, next() | 8UL << 56);
                amd.WriteRegister(AmdRegister.PPR_LOG_BASE, 8, next() | 8UL << 56);
                amd.WriteRegister(AmdRegister.CONTROL, 8, 1 | 1 << 2 | 1 << 12 | 1 << 13 | 1 << 15 | 1 << 16);
                return (amd, () => amd.WriteRegister(AmdRegister.CMD_TAIL, 8, (ulong)(uint)random.Next(256) << 4));
            default:
                var riscv = new RiscvIommuUnit(memory);
                riscv.WriteRegister(0x18, 8, (next() >> 12 << 10) | 7);
                riscv.WriteRegister(0x48, 4, 1);
                riscv.WriteRegister(0x28, 8, (next() >> 12 << 10) | 6);
                riscv.WriteRegister(0x4c, 4, 1);
                riscv.WriteRegister(0x10, 8, (next() >> 12 << 10) | (ulong)(uint)random.Next(2, 5));
                return (riscv, () => riscv.WriteRegister(0x24, 4, (ulong)(uint)random.Next(256)));
        }
    }

    private static ulong[] Copy(PhysicalMemory memory, int words)
    {
        var copy = new ulong[words];
        for (var i = 0; i < words; i++)
            memory.Read64(At + ((ulong)i * 8), out copy[i]);
        return copy;
    }

    // Some words become noise, pointers back into the image (loops), or their neighbours with bits flipped; others are mended.
    private static void Mutate(Random random, GuardedImage image, ulong[] pristine)
    {
        var content = image.Content;
        for (var i = 0; i < 6; i++)
        {
            // Tables are mostly empty: half of the damage goes to words that are in use.
            var at = random.Next(image.Words);
            for (var look = 0; look < 64 && i < 3 && content[at] == 0; look++)
                at = (at + 1) % image.Words;
            content[at] = random.Next(5) switch
            {
                0 => (ulong)random.NextInt64() << 1,
                1 => At + ((ulong)(uint)random.Next(image.Words / 512) << 12) | (ulong)(uint)random.Next(4096),
                2 => pristine[at],
                3 => (At + ((ulong)(uint)random.Next(image.Words / 512) << 12)) >> 2 | (ulong)(uint)random.Next(256),
                _ => Mutation.Of(random, content[at], 64),
            };
        }
    }
}
