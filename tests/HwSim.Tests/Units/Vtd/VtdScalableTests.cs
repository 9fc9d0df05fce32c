using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Units.Vtd;

public sealed class VtdScalableTests : IDisposable
{
    private const PageAttributes ReadWrite = PageAttributes.Read | PageAttributes.Write | PageAttributes.User;
    private readonly VtdMachine _machine = new();
    private readonly ulong _directory;
    private readonly ulong _pasids;
    private readonly PageTable<X64> _first;

    public VtdScalableTests()
    {
        _directory = _machine.Memory.Allocate();
        _pasids = _machine.Memory.Allocate();
        _first = new PageTable<X64>(_machine.Memory, X64.Geometry(48, 46));
        _machine.Memory.Write64(_machine.Root, _machine.ContextTable | 1);
        // P, DTE, PASIDE, PRE; 128 directory entries.
        _machine.Memory.Write64(_machine.ContextTable + (0x18 * 32), _directory | 1 | 4 | 8 | 16);
        _machine.Memory.Write64(_directory, _pasids | 1);
        SetPasid(0, _machine.Table.Root | 1 | (2 << 2) | (2 << 6), 5, 0);
        _machine.Start(_machine.Root | (1 << 10));
    }

    public void Dispose()
    {
        _first.Dispose();
        _machine.Dispose();
    }

    private void SetPasid(uint pasid, ulong q0, ulong q1, ulong q2)
    {
        var entry = _pasids + (pasid * 64);
        _machine.Memory.Write64(entry, q0);
        _machine.Memory.Write64(entry + 8, q1);
        _machine.Memory.Write64(entry + 16, q2);
    }

    private bool Try(DmaAccess access, ulong iova, out DmaTranslation translation, uint pasid = DmaRequest.NoPasid) =>
        _machine.Unit.Translate(new DmaRequest(VtdMachine.Sid, pasid, iova, access), out translation);

    private void Expect(VtdFaultReason reason, DmaAccess access = DmaAccess.Read, ulong iova = 0x5000, uint pasid = DmaRequest.NoPasid)
    {
        Assert.False(Try(access, iova, out var translation, pasid));
        Assert.Equal(reason, (VtdFaultReason)translation.Reason);
    }

    private void FirstStage(uint pasid = 0) => SetPasid(pasid, 1 | (2 << 2) | (1 << 6), 7, _first.Root | 1);

    private void Nested(uint pasid = 0) => SetPasid(pasid, _machine.Table.Root | 1 | (2 << 2) | (3 << 6), 7, _first.Root | 1);

    [Fact]
    public void A_request_without_PASID_uses_the_entry_of_RID_PASID()
    {
        _machine.Table.Map(0x5000, 0x1_0000_0000, 0x1000, ReadWrite);
        Assert.True(Try(DmaAccess.Read, 0x5123, out var translation));
        Assert.Equal(0x1_0000_0123UL, translation.Output);
        _machine.Memory.Write64(_machine.ContextTable + (0x18 * 32) + 8, 3);
        _machine.FlushContexts();
        Assert.True(Try(DmaAccess.Read, 0x5123, out translation)); // still in the PASID cache
    }

    [Fact]
    public void First_stage_translates_sets_accessed_and_dirty_and_checks_user_pages()
    {
        FirstStage(9);
        _first.Map(0x7FFF_0000_5000, 0x1_0000_5000, 0x1000, ReadWrite);
        _first.Map(0x7FFF_0000_6000, 0x1_0000_6000, 0x1000, PageAttributes.Read | PageAttributes.Write);
        _first.Map(0x7FFF_0000_7000, 0x1_0000_7000, 0x1000, PageAttributes.Read | PageAttributes.User);
        Assert.True(Try(DmaAccess.Read, 0x7FFF_0000_5008, out var translation, 9));
        Assert.Equal(0x1_0000_5008UL, translation.Output);
        Assert.Equal(PageAttributes.Accessed, Leaf(0x7FFF_0000_5000) & (PageAttributes.Accessed | PageAttributes.Dirty));
        Assert.True(Try(DmaAccess.Write, 0x7FFF_0000_5008, out _, 9));
        Assert.NotEqual(PageAttributes.None, Leaf(0x7FFF_0000_5000) & PageAttributes.Dirty);
        Expect(VtdFaultReason.UserOnSupervisorPage, DmaAccess.Read, 0x7FFF_0000_6000, 9);
        Assert.True(Try(DmaAccess.Read | DmaAccess.Privileged, 0x7FFF_0000_6000, out _, 9));
        Expect(VtdFaultReason.NoWrite, DmaAccess.Write, 0x7FFF_0000_7000, 9);
        Expect(VtdFaultReason.FirstStageNotPresent, DmaAccess.Write, 0x7FFF_0000_8000, 9);
        Expect(VtdFaultReason.NotCanonical, DmaAccess.Read, 0x8000_0000_0000, 9);
        PageAttributes Leaf(ulong address)
        {
            _first.Walker.Translate(address, WalkAccess.None, out var result);
            return result.Attributes;
        }
    }

    [Fact]
    public void Nested_translates_twice_and_tells_the_stages_faults_apart()
    {
        Nested(4);
        // The guest: its tables are at guest addresses equal to physical ones, its page 0x9000 is at guest address 0x20_0000_0000.
        for (ulong a = _machine.Memory.Options.ArenaBase; a < _machine.Memory.Options.ArenaBase + (16 << 20); a += 0x1000)
            Assert.Equal(0, _machine.Table.Map(a, a, 0x1000, ReadWrite));
        _machine.Table.Map(0x20_0000_0000, 0x1_0200_0000, 0x1000, PageAttributes.Read);
        _first.Map(0x9000, 0x20_0000_0000, 0x1000, ReadWrite);
        _first.Map(0xA000, 0x21_0000_0000, 0x1000, ReadWrite);
        Assert.True(Try(DmaAccess.Read, 0x9010, out var translation, 4));
        Assert.Equal(0x1_0200_0010UL, translation.Output);
        Expect(VtdFaultReason.NoWrite, DmaAccess.Write, 0x9000, 4);
        Expect(VtdFaultReason.SecondStageNotPresent, DmaAccess.Read, 0xA000, 4);
        Expect(VtdFaultReason.FirstStageNotPresent, DmaAccess.Read, 0xB000, 4);
        // Guest tables in memory that the second stage allows to read only: the accessed bit cannot be set.
        _first.Map(0x40_0000_0000, 0x20_0000_0000, 0x1000, ReadWrite);
        var page = _machine.Memory.Options.ArenaBase;
        _machine.Table.Unmap(page, 16 << 20);
        for (ulong a = page; a < page + (16 << 20); a += 0x1000)
            _machine.Table.Map(a, a, 0x1000, PageAttributes.Read);
        Expect(VtdFaultReason.NestedEntryWrite, DmaAccess.Read, 0x40_0000_0000, 4);
        _machine.Table.Unmap(page, 16 << 20);
        Expect(VtdFaultReason.NestedRootRead, DmaAccess.Read, 0x40_0000_0000, 4);
    }

    [Fact]
    public void Second_stage_dirty_bits_are_set_at_the_first_write()
    {
        SetPasid(0, _machine.Table.Root | 1 | (2 << 2) | (2 << 6) | (1 << 9), 5, 0);
        _machine.Table.Map(0x5000, 0x1_0000_0000, 0x3000, ReadWrite);
        var bitmap = new ulong[1];
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        Assert.True(Try(DmaAccess.Read, 0x6000, out _));
        Assert.True(Try(DmaAccess.Write, 0x6000, out _));
        Assert.Equal(0, _machine.Table.ReadDirty(0x5000, 0x3000, bitmap, 0x1000, clear: true));
        Assert.Equal(2UL, bitmap[0]);
    }

    [Fact]
    public void Each_broken_structure_has_its_own_reason()
    {
        Expect(VtdFaultReason.SecondStageNotPresent);
        Expect(VtdFaultReason.PasidNotPresent, pasid: 3);
        Expect(VtdFaultReason.PasidDirectoryNotPresent, pasid: 100);
        Expect(VtdFaultReason.PasidTooLarge, pasid: 1 << 13);
        SetPasid(3, 1 | (2 << 2) | (5 << 6), 7, 0);
        Expect(VtdFaultReason.PasidInvalid, pasid: 3);
        _machine.Memory.Write64(_pasids + (3 * 64) + 40, 1);
        Expect(VtdFaultReason.PasidReserved, pasid: 3);
        _machine.Memory.Write64(_directory, _pasids | 1 | 8);
        Expect(VtdFaultReason.PasidDirectoryReserved, pasid: 3);
        _machine.Memory.Write64(_machine.ContextTable + (0x18 * 32), _directory | 1);
        _machine.FlushContexts();
        Expect(VtdFaultReason.PasidDisabled, pasid: 3);
        _machine.Memory.Write64(_machine.ContextTable + (0x18 * 32), _directory | 1 | 32);
        _machine.FlushContexts();
        Expect(VtdFaultReason.ScalableContextReserved, pasid: 3);
        _machine.Memory.Write64(_machine.ContextTable + (0x18 * 32), 0);
        Expect(VtdFaultReason.ScalableContextNotPresent, pasid: 3);
        _machine.Memory.Write64(_machine.Root, 0);
        Expect(VtdFaultReason.ScalableRootNotPresent, pasid: 3);
    }

    [Fact]
    public void The_fault_record_carries_the_PASID()
    {
        Expect(VtdFaultReason.PasidNotPresent, DmaAccess.Write, 0x1234_5000, 0x2A);
        Assert.Equal((1UL << 63) | (0x2AUL << 40) | ((ulong)VtdFaultReason.PasidNotPresent << 32) | (1UL << 31) | 0x18, _machine.Fault());
    }

    [Fact]
    public void Queued_invalidation_runs_descriptors_and_writes_the_wait_status()
    {
        _machine.Table.Map(0x5000, 0x1_0000_0000, 0x1000, ReadWrite);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        _machine.Table.Unmap(0x5000, 0x1000);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        var queue = StartQueue();
        var status = _machine.Memory.Allocate();
        Submit(queue, (2 | (3 << 4) | (5UL << 16), 0x5000), (5 | (1 << 5) | (0x1234UL << 32), status));
        Expect(VtdFaultReason.SecondStageNotPresent);
        Assert.True(_machine.Memory.Read32(status, out var done));
        Assert.Equal(0x1234u, done);
        Assert.Equal(_machine.Unit.ReadRegister(VtdRegister.IQT, 8), _machine.Unit.ReadRegister(VtdRegister.IQH, 8));
    }

    [Fact]
    public void An_illegal_descriptor_stops_the_queue_until_IQE_is_cleared()
    {
        var queue = StartQueue();
        Submit(queue, (15, 0));
        Assert.Equal(0x10UL, _machine.Unit.ReadRegister(VtdRegister.FSTS, 4) & 0x10);
        Assert.Equal(0UL, _machine.Unit.ReadRegister(VtdRegister.IQH, 8));
        _machine.Memory.Write64(queue, 5);
        _machine.Unit.WriteRegister(VtdRegister.FSTS, 4, 0x10);
        Assert.Equal(16UL, _machine.Unit.ReadRegister(VtdRegister.IQH, 8));
    }

    [Fact]
    public void First_stage_entries_need_the_PASID_based_invalidation()
    {
        FirstStage(9);
        _first.Map(0x5000, 0x1_0000_5000, 0x1000, ReadWrite);
        Assert.True(Try(DmaAccess.Write, 0x5000, out _, 9));
        _first.Unmap(0x5000, 0x1000);
        var queue = StartQueue();
        Submit(queue,
            (2 | (2 << 4) | (7UL << 16), 0), (6 | (2 << 4) | (7UL << 16) | (8UL << 32), 0), (6 | (3 << 4) | (7UL << 16) | (9UL << 32), 0x6000));
        Assert.True(Try(DmaAccess.Write, 0x5000, out _, 9));
        _machine.Unit.ChecksStaleness = true;
        Assert.True(Try(DmaAccess.Write, 0x5000, out _, 9));
        Assert.Equal("PASID-based IOTLB invalidation of domain 7, PASID 9, address 0x5000", Assert.Single(_machine.Unit.StaleUses).Missed);
        Submit(queue, (6 | (3 << 4) | (7UL << 16) | (9UL << 32), 0x5000));
        Expect(VtdFaultReason.FirstStageNotPresent, DmaAccess.Write, 0x5000, 9);
    }

    [Fact]
    public void A_PASID_entry_change_needs_the_PASID_cache_invalidation()
    {
        FirstStage(9);
        _first.Map(0x5000, 0x1_0000_5000, 0x1000, ReadWrite);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _, 9));
        SetPasid(9, 0, 0, 0);
        var queue = StartQueue();
        Submit(queue, (1 | (1 << 4), 0), (7 | (1 << 4) | (7UL << 16) | (8UL << 32), 0));
        Assert.True(Try(DmaAccess.Read, 0x5000, out _, 9));
        Submit(queue, (7 | (1 << 4) | (7UL << 16) | (9UL << 32), 0));
        Expect(VtdFaultReason.PasidNotPresent, DmaAccess.Read, 0x5000, 9);
    }

    [Fact]
    public void A_page_request_reaches_the_queue_and_its_answer_the_device()
    {
        FirstStage(9);
        var pages = _machine.Memory.Allocate();
        _machine.Unit.WriteRegister(VtdRegister.PQA, 8, pages);
        _machine.Unit.WriteRegister(VtdRegister.PEADDR, 4, 0xFEE0_2000);
        _machine.Unit.WriteRegister(VtdRegister.PECTL, 4, 0);
        var tlb = new RecordingTlb();
        _machine.Unit.ConnectDeviceTlb(VtdMachine.Sid, tlb);
        Assert.True(_machine.Unit.RequestPage(new PageRequest(VtdMachine.Sid, 9, 0x7000, DmaAccess.Read | DmaAccess.Write, 3, true)));
        Assert.Equal(32UL, _machine.Unit.ReadRegister(VtdRegister.PQT, 8));
        _machine.Memory.Read64(pages, out var low);
        _machine.Memory.Read64(pages + 8, out var high);
        Assert.Equal(1UL | (1 << 8) | (0x18UL << 16) | (9UL << 32), low);
        Assert.Equal(7UL | (3 << 3) | 0x7000, high);
        Assert.Single(_machine.Messages);
        var queue = StartQueue();
        Submit(queue, (9 | (1 << 4) | (1UL << 12) | (0x18UL << 16) | (9UL << 32), 3 << 3), (8 | (0x18UL << 16) | (9UL << 32), 0x6000 | (1 << 11)));
        Assert.Equal(["response 9 3 1", "invalidate 9 6000..7fff False"], tlb.Calls);
    }

    [Fact]
    public void A_full_page_request_queue_answers_and_says_overflow()
    {
        FirstStage(9);
        _machine.Unit.WriteRegister(VtdRegister.PQA, 8, _machine.Memory.Allocate());
        for (var i = 0; i < 127; i++)
            Assert.True(_machine.Unit.RequestPage(new PageRequest(VtdMachine.Sid, 9, 0x7000, DmaAccess.Read, 3, true)));
        Assert.False(_machine.Unit.RequestPage(new PageRequest(VtdMachine.Sid, 9, 0x7000, DmaAccess.Read, 3, true)));
        Assert.Equal(3UL, _machine.Unit.ReadRegister(VtdRegister.PRS, 4));
    }

    private ulong StartQueue()
    {
        var queue = _machine.Memory.Allocate();
        _machine.Unit.WriteRegister(VtdRegister.IQA, 8, queue);
        _machine.Unit.WriteRegister(VtdRegister.IQT, 8, 0);
        _machine.Unit.WriteRegister(VtdRegister.GCMD, 4, 0x8400_0000);
        return queue;
    }

    private void Submit(ulong queue, params (ulong Low, ulong High)[] descriptors)
    {
        var tail = _machine.Unit.ReadRegister(VtdRegister.IQT, 8);
        foreach (var (low, high) in descriptors)
        {
            _machine.Memory.Write64(queue + tail, low);
            _machine.Memory.Write64(queue + tail + 8, high);
            tail = (tail + 16) % 4096;
        }

        _machine.Unit.WriteRegister(VtdRegister.IQT, 8, tail);
    }

    private sealed class RecordingTlb : IDeviceTlb
    {
        public List<string> Calls { get; } = [];

        public void Invalidate(uint pasid, ulong address, ulong last, bool global) => Calls.Add($"invalidate {pasid} {address:x}..{last:x} {global}");

        public void PageResponse(uint pasid, ushort group, byte code) => Calls.Add($"response {pasid} {group} {code}");
    }
}
