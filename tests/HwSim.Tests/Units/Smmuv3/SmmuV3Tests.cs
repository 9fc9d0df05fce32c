using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Units.Smmuv3;

public sealed class SmmuV3Tests : IInterruptController, IDisposable
{
    private const ushort Sid = 0x18;
    private const PageAttributes Page = PageAttributes.Read | PageAttributes.Write | PageAttributes.User | PageAttributes.Coherent;
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { ArenaSize = 64 << 20, AddressBits = 48 });
    private readonly SmmuV3Unit _unit;
    private readonly ulong _table;
    private readonly ulong _cd;
    private readonly ulong _events;
    private readonly ulong _commands;
    private readonly PageTable<ArmStage1> _s1;
    private readonly PageTable<ArmStage2> _s2;
    private readonly List<(ushort RequesterId, ulong Address, uint Data)> _messages = [];

    public SmmuV3Tests()
    {
        _unit = new SmmuV3Unit(_memory) { Interrupts = this };
        _table = _memory.Allocate(14);
        _cd = _memory.Allocate();
        _events = _memory.Allocate(13);
        _commands = _memory.Allocate();
        _s1 = new PageTable<ArmStage1>(_memory, ArmStage1.Geometry(12, 48));
        _s2 = new PageTable<ArmStage2>(_memory, ArmStage2.Geometry(12, 40));
        Write(SmmuRegister.STRTAB_BASE, _table | (1UL << 62), 8);
        Write(SmmuRegister.STRTAB_BASE_CFG, 8);
        Write(SmmuRegister.CMDQ_BASE, _commands | (1UL << 62) | 8, 8);
        Write(SmmuRegister.EVENTQ_BASE, _events | (1UL << 62) | 8, 8);
        Write(SmmuRegister.CR0, 0xd);
    }

    void IInterruptController.Message(ushort requesterId, ulong address, uint data) => _messages.Add((requesterId, address, data));

    public void Dispose() => _memory.Dispose();

    private const ulong Stage2Word = 9UL | (24UL << 32) | (1UL << 38) | (1UL << 40) | (1UL << 42) | (3UL << 44) | (5UL << 48) | (1UL << 51)
        | (1UL << 58);

    private const ulong CdWord = 16UL | (1 << 8) | (1 << 10) | (3 << 12) | (1UL << 30) | (1UL << 31) | (5UL << 32) | (1UL << 41) | (1UL << 45)
        | (1UL << 46) | (1UL << 47) | (0x77UL << 48);

    private void Write(int offset, ulong value, int bytes = 4) => _unit.WriteRegister(offset, bytes, value);

    private void SetSte(ulong word0, ulong word1 = 0xd5, ulong word2 = 0, ulong word3 = 0, ushort sid = Sid)
    {
        ulong[] words = [word0, word1, word2, word3];
        for (var i = 0; i < 4; i++)
            _memory.Write64(_table + (sid * 64UL) + ((ulong)i * 8), words[i]);
        Command(3 | ((ulong)sid << 32), 1);
    }

    private void SetCd(ulong word0 = CdWord, ulong? ttb0 = null, ulong ttb1 = 0, int index = 0)
    {
        _memory.Write64(_cd + ((ulong)index * 64), word0);
        _memory.Write64(_cd + ((ulong)index * 64) + 8, ttb0 ?? _s1.Root);
        _memory.Write64(_cd + ((ulong)index * 64) + 16, ttb1);
        Command(6 | ((ulong)Sid << 32), 1);
    }

    private void Stage1(ulong cd = CdWord)
    {
        SetSte(1 | (5 << 1) | _cd);
        SetCd(cd);
    }

    private void Command(ulong low, ulong high)
    {
        var prod = _unit.ReadRegister(SmmuRegister.CMDQ_PROD, 4);
        _memory.Write64(_commands + ((prod & 0xFF) * 16), low);
        _memory.Write64(_commands + ((prod & 0xFF) * 16) + 8, high);
        Write(SmmuRegister.CMDQ_PROD, (prod + 1) & 0x1FF);
    }

    private bool Try(DmaAccess access, ulong iova, out DmaTranslation translation, uint substream = DmaRequest.NoPasid, ushort sid = Sid) =>
        _unit.Translate(new DmaRequest(sid, substream, iova, access), out translation);

    private ulong[] Expect(SmmuEvent code, DmaAccess access, ulong iova, uint substream = DmaRequest.NoPasid, ushort sid = Sid)
    {
        var prod = _unit.ReadRegister(SmmuRegister.EVENTQ_PROD, 4);
        Assert.False(Try(access, iova, out var translation, substream, sid));
        Assert.Equal(code, (SmmuEvent)translation.Reason);
        Assert.Equal((prod + 1) & 0x1FF, _unit.ReadRegister(SmmuRegister.EVENTQ_PROD, 4));
        var words = new ulong[4];
        for (var i = 0; i < 4; i++)
            _memory.Read64(_events + ((prod & 0xFF) * 32) + ((ulong)i * 8), out words[i]);
        Assert.Equal((ulong)code | ((ulong)sid << 32), words[0] & 0xFFFF_FFFF_0000_00FF);
        return words;
    }

    [Fact]
    public void Before_SMMUEN_DMA_passes_or_with_GBPA_ABORT_is_dropped()
    {
        Write(SmmuRegister.CR0, 0xc);
        Assert.True(Try(DmaAccess.Read, 0x1234, out _));
        Write(SmmuRegister.GBPA, 0x80101000);
        Assert.Equal(0x101000UL, _unit.ReadRegister(SmmuRegister.GBPA, 4));
        Assert.False(Try(DmaAccess.Read, 0x1234, out _));
        Assert.Equal(0UL, _unit.ReadRegister(SmmuRegister.EVENTQ_PROD, 4));
    }

    [Fact]
    public void Bypass_and_abort()
    {
        SetSte(1 | (4 << 1));
        Assert.True(Try(DmaAccess.Read, 0x1234, out var translation));
        Assert.Equal(0x1234UL, translation.Output);
        SetSte(1);
        Assert.False(Try(DmaAccess.Read, 0x1234, out _));
        Assert.Equal(0UL, _unit.ReadRegister(SmmuRegister.EVENTQ_PROD, 4));
    }

    // The words are those of QEMU's model for the same requests.
    [Fact]
    public void Stage_1_faults()
    {
        Stage1();
        _s1.Map(0x7FFF_1234_7000, 0x1_0000_0000, 0x1000, Page & ~PageAttributes.Write);
        Assert.True(Try(DmaAccess.Read, 0x7FFF_1234_7010, out var translation));
        Assert.Equal(0x1_0000_0010UL, translation.Output);
        Assert.Equal([0x18_0000_0010, 0x0208UL << 32, 0x7FFF_1234_A000, 0], Expect(SmmuEvent.F_TRANSLATION, DmaAccess.Read, 0x7FFF_1234_A000));
        Assert.Equal([0x18_0000_0010, 0x0200UL << 32, 0x7FFF_1234_A000, 0], Expect(SmmuEvent.F_TRANSLATION, DmaAccess.Write, 0x7FFF_1234_A000));
        Assert.Equal([0x18_0000_0013, 0x0200UL << 32, 0x7FFF_1234_7010, 0], Expect(SmmuEvent.F_PERMISSION, DmaAccess.Write, 0x7FFF_1234_7010));
        Assert.Equal([0x18_0000_0010, 0x0208UL << 32, 1UL << 48, 0], Expect(SmmuEvent.F_TRANSLATION, DmaAccess.Read, 1UL << 48));
        _memory.Write64(_s1.Root, 0x2_0000_0000_0003 & 0xFFFF_FFFF_FFFF);
        _memory.Write64(_s1.Root, 0x0000_0200_0000_0003);
        Assert.Equal([0x18_0000_000b, 0x0108UL << 32, 0x5000, 0x0000_0200_0000_0000], Expect(SmmuEvent.F_WALK_EABT, DmaAccess.Read, 0x5000));
    }

    [Fact]
    public void The_access_flag_faults_unless_AFFD_or_HA()
    {
        Stage1();
        _s1.Map(0x5000, 0x1_0000_0000, 0x1000, Page);
        _s1.Walker.Translate(0x5000, WalkAccess.None, out var leaf);
        _memory.Write64(leaf.EntryAddress, leaf.Entry & ~(1UL << 10));
        Expect(SmmuEvent.F_ACCESS, DmaAccess.Read, 0x5000);
        Stage1(CdWord | (1UL << 35));
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        Command(0x30, 0);
        Stage1(CdWord | (1UL << 43));
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        _memory.Read64(leaf.EntryAddress, out var entry);
        Assert.Equal(leaf.Entry, entry);
    }

    [Fact]
    public void With_HD_the_first_write_makes_a_tracked_page_dirty()
    {
        using var tracked =
            new PageTable<ArmStage1>(_memory, ArmStage1.Geometry(12, 48, features: PageTableFeatures.Contiguous | PageTableFeatures.DirtyTracking));
        Stage1(CdWord | (3UL << 42));
        SetCd(CdWord | (3UL << 42), tracked.Root);
        tracked.Map(0x5000, 0x1_0000_0000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        var bitmap = new ulong[1];
        tracked.ReadDirty(0x5000, 0x1000, bitmap, 0x1000, false);
        Assert.Equal(0UL, bitmap[0]);
        Assert.True(Try(DmaAccess.Write, 0x5000, out _));
        tracked.ReadDirty(0x5000, 0x1000, bitmap, 0x1000, false);
        Assert.Equal(1UL, bitmap[0]);
    }

    [Fact]
    public void The_upper_half_uses_TTB1_and_TBI_ignores_the_top_byte()
    {
        using var upper = new PageTable<ArmStage1>(_memory, ArmStage1.Geometry(12, 48));
        SetSte(1 | (5 << 1) | _cd);
        SetCd((CdWord & ~(1UL << 30)) | (16UL << 16) | (2UL << 22) | (3UL << 38), _s1.Root, upper.Root);
        upper.Map(0x5000, 0x1_0000_0000, 0x1000, Page);
        _s1.Map(0x5000, 0x1_0000_1000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0xFFFF_0000_0000_5000, out var translation));
        Assert.Equal(0x1_0000_0000UL, translation.Output);
        Assert.True(Try(DmaAccess.Read, 0xAB00_0000_0000_5000, out translation));
        Assert.Equal(0x1_0000_1000UL, translation.Output);
        Assert.True(Try(DmaAccess.Read, 0x12FF_0000_0000_5000, out translation));
        Assert.Equal(0x1_0000_0000UL, translation.Output);
    }

    [Fact]
    public void Stage_2_alone_with_concatenated_tables()
    {
        SetSte(1 | (6 << 1), 0xd5, Stage2Word, _s2.Root);
        _s2.Map(0xFF_FFFF_F000, 0x1_0000_0000, 0x1000, PageAttributes.Read);
        Assert.True(Try(DmaAccess.Read, 0xFF_FFFF_F010, out var translation));
        Assert.Equal(0x1_0000_0010UL, translation.Output);
        Assert.Equal([0x18_0000_0010, 0x0288UL << 32, 0x5_4321_5000, 0x5_4321_5000], Expect(SmmuEvent.F_TRANSLATION, DmaAccess.Read, 0x5_4321_5000));
        Assert.Equal(
            [0x18_0000_0013, 0x0280UL << 32, 0xFF_FFFF_F000, 0xFF_FFFF_F000], Expect(SmmuEvent.F_PERMISSION, DmaAccess.Write, 0xFF_FFFF_F000));
        Expect(SmmuEvent.F_TRANSLATION, DmaAccess.Read, 1UL << 40);
    }

    [Fact]
    public void Nested_faults_name_the_stage_the_class_and_the_IPA()
    {
        SetSte(1 | (7 << 1) | _cd, 0xd5, Stage2Word, _s2.Root);
        Expect(SmmuEvent.F_TRANSLATION, DmaAccess.Read, 0x5000);
        _memory.Read64(_events + 8, out var word1);
        Assert.Equal(0x0088UL << 32, word1); // the descriptor is at an IPA that is not mapped: stage 2, class CD
        for (var a = _memory.Options.ArenaBase; a < _memory.Options.ArenaBase + (8 << 20); a += 0x1000)
            _s2.Map(a, a, 0x1000, Page);
        SetCd();
        _s2.Map(0x20_0000_0000, 0x8888_8000, 0x1000, PageAttributes.Read);
        _s1.Map(0x5000, 0x20_0000_0000, 0x1000, Page);
        _s1.Map(0x6000, 0x21_0000_0000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5010, out var translation));
        Assert.Equal(0x8888_8010UL, translation.Output);
        Assert.Equal([0x18_0000_0010, 0x0208UL << 32, 0x7000, 0], Expect(SmmuEvent.F_TRANSLATION, DmaAccess.Read, 0x7000));
        Assert.Equal([0x18_0000_0010, 0x0288UL << 32, 0x6018, 0x21_0000_0000], Expect(SmmuEvent.F_TRANSLATION, DmaAccess.Read, 0x6018));
        Assert.Equal([0x18_0000_0013, 0x0280UL << 32, 0x5018, 0x20_0000_0000], Expect(SmmuEvent.F_PERMISSION, DmaAccess.Write, 0x5018));
        SetCd(CdWord, 0x30_0000_0000);
        Assert.Equal([0x18_0000_0010, 0x0188UL << 32, 0x9000, 0x30_0000_0000], Expect(SmmuEvent.F_TRANSLATION, DmaAccess.Read, 0x9000));
    }

    [Fact]
    public void Bad_structures()
    {
        Expect(SmmuEvent.C_BAD_STREAMID, DmaAccess.Read, 0x5000, sid: 0x100);
        SetSte(0);
        Expect(SmmuEvent.C_BAD_STE, DmaAccess.Read, 0x5000);
        SetSte(1 | (6 << 1), 0xd5, Stage2Word & ~(3UL << 38) | (3UL << 38), _s2.Root);
        Expect(SmmuEvent.C_BAD_STE, DmaAccess.Read, 0x5000);
        SetSte(1 | (5 << 1) | _cd);
        Expect(SmmuEvent.C_BAD_CD, DmaAccess.Read, 0x5000);
        foreach (var bad in new[] { CdWord & ~(1UL << 31), CdWord & ~(1UL << 46), (CdWord & ~63UL) | 15, (CdWord & ~63UL) | 40, CdWord | (1 << 15) })
        {
            SetCd(bad);
            Expect(SmmuEvent.C_BAD_CD, DmaAccess.Read, 0x5000);
        }

        SetSte(1 | (5 << 1) | 0x7000_0000_0000);
        Assert.Equal(0x7000_0000_0000UL, Expect(SmmuEvent.F_CD_FETCH, DmaAccess.Read, 0x5000)[3]);
    }

    [Fact]
    public void Two_level_stream_table()
    {
        var second = _memory.Allocate(15);
        var first = _memory.Allocate();
        Write(SmmuRegister.STRTAB_BASE, first | (1UL << 62), 8);
        Write(SmmuRegister.STRTAB_BASE_CFG, (1 << 16) | (8 << 6) | 16);
        Expect(SmmuEvent.C_BAD_STREAMID, DmaAccess.Read, 0x1000, sid: 0x3FE);
        _memory.Write64(first + (3 * 8), second | 9);
        _memory.Write64(second + (0xFE * 64), 1 | (4 << 1));
        Assert.True(Try(DmaAccess.Read, 0x1000, out _, sid: 0x3FE));
        _memory.Write64(first + (3 * 8), second | 8);
        Command(4, 31);
        Expect(SmmuEvent.C_BAD_STREAMID, DmaAccess.Read, 0x1000, sid: 0x3FE);
    }

    [Fact]
    public void Substreams()
    {
        SetSte(1 | (5 << 1) | _cd | (4UL << 59), 0xd4);
        SetCd(index: 5);
        _s1.Map(0x5000, 0x1_0000_0000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _, 5));
        Expect(SmmuEvent.C_BAD_CD, DmaAccess.Read, 0x5000, 4);
        Expect(SmmuEvent.C_BAD_SUBSTREAMID, DmaAccess.Read, 0x5000, 16);
        Expect(SmmuEvent.F_STREAM_DISABLED, DmaAccess.Read, 0x5000);
        SetSte(1 | (5 << 1) | _cd | (4UL << 59), 0xd5);
        Assert.True(Try(DmaAccess.Read, 0x1234, out var translation));
        Assert.Equal(0x1234UL, translation.Output);
        SetSte(1 | (5 << 1) | _cd | (4UL << 59), 0xd6);
        SetCd();
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        Expect(SmmuEvent.C_BAD_SUBSTREAMID, DmaAccess.Read, 0x5000, 0);
        Stage1();
        Expect(SmmuEvent.C_BAD_SUBSTREAMID, DmaAccess.Read, 0x5000, 1);
    }

    [Fact]
    public void Invalidations_match_ASID_VMID_and_address()
    {
        Stage1();
        _s1.Map(0x5000, 0x1_0000_0000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        _s1.Unmap(0x5000, 0x1000);
        Command(0x12 | (0x77UL << 48), 0x6000);
        Command(0x12 | (0x78UL << 48), 0x5000);
        Command(0x28, 0);
        _unit.ChecksStaleness = true;
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        Assert.Equal("CMD_TLBI_NH_VA of ASID 77, VMID 0, address 0x5000", Assert.Single(_unit.StaleUses).Missed);
        Command(0x12 | (0x77UL << 48) | (3 << 12), 0x2000 | (1 << 10)); // four 4 KiB pages from 0x2000
        Expect(SmmuEvent.F_TRANSLATION, DmaAccess.Read, 0x5000);
    }

    [Fact]
    public void An_STE_change_needs_CFGI_STE()
    {
        SetSte(1 | (4 << 1));
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        _memory.Write64(_table + (Sid * 64), 0);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        Command(3 | ((ulong)Sid << 32), 1);
        Expect(SmmuEvent.C_BAD_STE, DmaAccess.Read, 0x5000);
    }

    [Fact]
    public void An_illegal_command_is_a_global_error_that_stops_the_queue()
    {
        var cons = _unit.ReadRegister(SmmuRegister.CMDQ_CONS, 4);
        Command(0xff, 0);
        Assert.Equal(1UL, _unit.ReadRegister(SmmuRegister.GERROR, 4));
        Assert.Equal(cons | (1 << 24), _unit.ReadRegister(SmmuRegister.CMDQ_CONS, 4));
        _memory.Write64(_commands + (cons * 16), 0x46);
        Write(SmmuRegister.GERRORN, 1);
        Assert.Equal(cons + 1, _unit.ReadRegister(SmmuRegister.CMDQ_CONS, 4));
    }

    [Fact]
    public void SYNC_writes_its_message()
    {
        var at = _memory.Allocate();
        Command(0x46 | (1 << 12) | (0xABUL << 32), at);
        Assert.True(_memory.Read32(at, out var data) && data == 0xAB);
    }

    [Fact]
    public void A_full_event_queue_shows_its_overflow_once()
    {
        SetSte(0);
        Write(SmmuRegister.EVENTQ_IRQ_CFG0, 0x900_0040, 8);
        Write(SmmuRegister.IRQ_CTRL, 4);
        for (var i = 0; i < 300; i++)
            Try(DmaAccess.Read, 0x5000, out _);
        Assert.Equal(0x8000_0100UL, _unit.ReadRegister(SmmuRegister.EVENTQ_PROD, 4));
        Assert.Single(_messages);
        Write(SmmuRegister.EVENTQ_CONS, 0x8000_0100);
        Try(DmaAccess.Read, 0x5000, out _);
        Assert.Equal(0x8000_0101UL, _unit.ReadRegister(SmmuRegister.EVENTQ_PROD, 4));
    }

    [Fact]
    public unsafe void A_stalled_transaction_waits_for_RESUME()
    {
        Stage1(CdWord | (1UL << 44));
        var resumed = new List<(ushort, ushort, bool)>();
        _unit.Resumed = (stream, tag, retry) => resumed.Add((stream, tag, retry));
        var data = 0UL;
        Assert.Equal(DmaStatus.Stalled, _unit.Write(Sid, DmaRequest.NoPasid, 0x5000, &data, 8));
        _memory.Read64(_events + 8, out var word1);
        Assert.Equal(1UL << 31, word1 & 0x8000_FFFF);
        var page = _memory.Allocate();
        _s1.Map(0x5000, page, 0x1000, Page);
        Command(0x44 | (1 << 12) | ((ulong)Sid << 32), 0);
        Assert.Equal([(Sid, (ushort)0, true)], resumed);
        Assert.Equal(DmaStatus.Success, _unit.Write(Sid, DmaRequest.NoPasid, 0x5000, &data, 8));
    }

    [Fact]
    public void A_page_request_reaches_the_PRI_queue()
    {
        var pages = _memory.Allocate();
        Write(SmmuRegister.PRIQ_BASE, pages | 6, 8);
        Write(SmmuRegister.CR0, 0xf);
        Assert.True(_unit.RequestPage(new PageRequest(Sid, 3, 0x5000, DmaAccess.Read | DmaAccess.Write, 7, true)));
        _memory.Read64(pages, out var low);
        _memory.Read64(pages + 8, out var high);
        Assert.Equal(Sid | (3UL << 32) | (0xFUL << 60), low);
        Assert.Equal(0x5007UL, high);
    }
}
