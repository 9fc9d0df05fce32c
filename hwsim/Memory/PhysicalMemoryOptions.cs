namespace IommuFd.HwSim;

/// <summary>Where a <see cref="PhysicalMemory"/> puts things. The same options and the same calls give the same addresses.</summary>
public sealed record PhysicalMemoryOptions
{
    /// <summary>Physical address of the arena, from which table pages are taken. A multiple of 2 MiB.</summary>
    public ulong ArenaBase { get; init; } = 0x1_0000_0000;

    /// <summary>Bytes of address space of the arena; host memory is used only for what is touched. A multiple of 2 MiB.</summary>
    public ulong ArenaSize { get; init; } = 0x2_0000_0000;

    /// <summary>Physical address from which pinned user memory is placed. A multiple of 1 GiB, above the arena.</summary>
    public ulong PinnedBase { get; init; } = 0x40_0000_0000;

    /// <summary>Width of a physical address in bits (data books: HAW, OAS, PAS), 36 to 56. Pinned memory stays below it.</summary>
    public int AddressBits { get; init; } = 46;

    /// <summary>
    /// True: every 4 KiB page that is pinned gets a frame of its own, next to none of its neighbours, so that no large page is possible.
    /// False: a page keeps its host address modulo 1 GiB, so that every large page is possible that the host address allows.
    /// </summary>
    public bool Scattered { get; init; }

    /// <summary>Chooses the order of frames in scattered mode.</summary>
    public ulong Seed { get; init; }

    /// <summary>
    /// Ask the host for huge pages under the arena: first touch of tables is about twice as fast, and memory use is rounded up to 2 MiB.
    /// </summary>
    public bool HugeArena { get; init; }
}
