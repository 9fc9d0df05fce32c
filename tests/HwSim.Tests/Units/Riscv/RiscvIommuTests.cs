using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Units.Riscv;

public sealed unsafe class RiscvIommuTests : IInterruptController, IDisposable
{
    private const ushort Did = 0x18;
    private const PageAttributes Page = PageAttributes.Read | PageAttributes.Write | PageAttributes.User | PageAttributes.Accessed
        | PageAttributes.Dirty;
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { ArenaSize = 64 << 20, AddressBits = 56 });
    private readonly RiscvIommuUnit _unit;
    private readonly ulong _directory;
    private readonly ulong _faults;
    private readonly ulong _commands;
    private readonly PageTable<RiscV64> _first;
    private readonly PageTable<RiscV64> _second;
    private readonly List<(ushort RequesterId, ulong Address, uint Data)> _messages = [];

    public RiscvIommuTests()
    {
        _unit = new RiscvIommuUnit(_memory) { Interrupts = this };
        _directory = _memory.Allocate();
        _faults = _memory.Allocate();
        _commands = _memory.Allocate();
        _first = new PageTable<RiscV64>(_memory, RiscV64.Sv(39));
        _second = new PageTable<RiscV64>(_memory, RiscV64.SvX4(39));
        _unit.WriteRegister(RiscvRegister.cqb, 8, (_commands >> 2) | 6);
        _unit.WriteRegister(RiscvRegister.cqcsr, 4, 1);
        _unit.WriteRegister(RiscvRegister.fqb, 8, (_faults >> 2) | 6);
        _unit.WriteRegister(RiscvRegister.fqcsr, 4, 1);
        _unit.WriteRegister(RiscvRegister.ddtp, 8, (_directory >> 2) | 2);
    }

    void IInterruptController.Message(ushort requesterId, ulong address, uint data) => _messages.Add((requesterId, address, data));

    public void Dispose() => _memory.Dispose();

    private ulong Fsc => (8UL << 60) | (_first.Root >> 12);

    private ulong Iohgatp => (8UL << 60) | (3UL << 44) | (_second.Root >> 12);

    private void SetContext(ulong tc, ulong iohgatp, ulong fsc, ulong pscid = 7, ulong msiptp = 0, ulong mask = 0, ulong pattern = 0)
    {
        var at = _directory + (Did * 64);
        ulong[] words = [tc, iohgatp, pscid << 12, fsc, msiptp, mask, pattern, 0];
        for (var i = 0; i < 8; i++)
            _memory.Write64(at + ((ulong)i * 8), words[i]);
        Command(3, 0);
    }

    private void Command(ulong low, ulong high)
    {
        var tail = _unit.ReadRegister(RiscvRegister.cqt, 4);
        _memory.Write64(_commands + (tail * 16), low);
        _memory.Write64(_commands + (tail * 16) + 8, high);
        _unit.WriteRegister(RiscvRegister.cqt, 4, (tail + 1) & 0x7F);
    }

    private bool Try(DmaAccess access, ulong iova, out DmaTranslation translation, uint pasid = DmaRequest.NoPasid, ushort did = Did) =>
        _unit.Translate(new DmaRequest(did, pasid, iova, access), out translation);

    private void Expect(RiscvCause cause, DmaAccess access, ulong iova, ulong value2 = 0, uint pasid = DmaRequest.NoPasid, ushort did = Did)
    {
        var tail = _unit.ReadRegister(RiscvRegister.fqt, 4);
        Assert.False(Try(access, iova, out var translation, pasid, did));
        Assert.Equal(cause, (RiscvCause)translation.Reason);
        _memory.Read64(_faults + (tail * 32), out var header);
        _memory.Read64(_faults + (tail * 32) + 16, out var value);
        _memory.Read64(_faults + (tail * 32) + 24, out var second);
        Assert.Equal((ulong)cause | ((ulong)did << 40) | ((access & DmaAccess.Write) != 0 ? 3UL : 2UL) << 34
            | (pasid == DmaRequest.NoPasid ? 0 : ((ulong)pasid << 12) | (1UL << 32)), header & ~(1UL << 33));
        Assert.Equal(iova, value);
        Assert.Equal(value2, second);
    }

    [Fact]
    public void Off_refuses_and_Bare_passes()
    {
        var unit = new RiscvIommuUnit(_memory);
        Assert.False(unit.Translate(new DmaRequest(Did, DmaRequest.NoPasid, 0x1000, DmaAccess.Read), out var translation));
        Assert.Equal((uint)RiscvCause.AllDisallowed, translation.Reason);
        unit.WriteRegister(RiscvRegister.ddtp, 8, 1);
        Assert.True(unit.Translate(new DmaRequest(Did, DmaRequest.NoPasid, 0x1000, DmaAccess.Read), out translation));
        Assert.Equal(0x1000UL, translation.Output);
    }

    [Fact]
    public void One_directory_mode_does_not_change_to_another_directly()
    {
        _unit.WriteRegister(RiscvRegister.ddtp, 8, (_directory >> 2) | 3);
        Assert.Equal(2UL, _unit.ReadRegister(RiscvRegister.ddtp, 8) & 15);
        _unit.WriteRegister(RiscvRegister.ddtp, 8, 0);
        _unit.WriteRegister(RiscvRegister.ddtp, 8, (_directory >> 2) | 3);
        Assert.Equal(3UL, _unit.ReadRegister(RiscvRegister.ddtp, 8) & 15);
    }

    [Fact]
    public void First_stage_alone()
    {
        SetContext(1, 0, Fsc);
        _first.Map(0x12_3456_7000, 0x1_0000_0000, 0x1000, Page);
        _first.Map(0xFFFF_FFFF_F000_0000, 0x8000_0000_000000, 0x20_0000, Page);
        _first.Map(0x9000, 0x5000, 0x1000, Page & ~PageAttributes.Write);
        _first.Map(0xA000, 0x5000, 0x1000, Page & ~PageAttributes.User);
        _first.Map(0xB000, 0x5000, 0x1000, Page & ~PageAttributes.Accessed);
        _first.Map(0xC000, 0x5000, 0x1000, Page & ~PageAttributes.Dirty);
        Assert.True(Try(DmaAccess.Write, 0x12_3456_7008, out var translation));
        Assert.Equal(0x1_0000_0008UL, translation.Output);
        Assert.True(Try(DmaAccess.Read, 0xFFFF_FFFF_F012_3456, out translation));
        Assert.Equal(0x8000_0000_123456UL, translation.Output);
        Expect(RiscvCause.ReadPage, DmaAccess.Read, 0x8000);
        Expect(RiscvCause.WritePage, DmaAccess.Write, 0x9000);
        Expect(RiscvCause.ReadPage, DmaAccess.Read, 0xA000);
        Expect(RiscvCause.ReadPage, DmaAccess.Read, 0xB000);
        Assert.True(Try(DmaAccess.Read, 0xC000, out _));
        Expect(RiscvCause.WritePage, DmaAccess.Write, 0xC000);
        Expect(RiscvCause.ReadPage, DmaAccess.Read, 1UL << 38);
        _memory.Write64(_first.Root + 8, 0x003F_FFFF_FFFF_FC01);
        Expect(RiscvCause.ReadAccess, DmaAccess.Read, 1UL << 30);
        Expect(RiscvCause.WriteAccess, DmaAccess.Write, 1UL << 30);
    }

    [Fact]
    public void SADE_lets_hardware_set_accessed_and_dirty()
    {
        SetContext(1 | (1 << 8), 0, Fsc);
        _first.Map(0x5000, 0x5000, 0x1000, Page & ~(PageAttributes.Accessed | PageAttributes.Dirty));
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        _first.Walker.Translate(0x5000, WalkAccess.None, out var result);
        Assert.Equal(PageAttributes.Accessed, result.Attributes & (PageAttributes.Accessed | PageAttributes.Dirty));
        Assert.True(Try(DmaAccess.Write, 0x5000, out _));
        _first.Walker.Translate(0x5000, WalkAccess.None, out result);
        Assert.NotEqual(PageAttributes.None, result.Attributes & PageAttributes.Dirty);
    }

    [Fact]
    public void Second_stage_alone_has_two_more_address_bits()
    {
        SetContext(1, Iohgatp, 0);
        _second.Map(0x1FF_FFFF_F000, 0x7000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Write, 0x1FF_FFFF_F010, out var translation));
        Assert.Equal(0x7010UL, translation.Output);
        Expect(RiscvCause.ReadGuestPage, DmaAccess.Read, 0x8008, 0x8008);
        Expect(RiscvCause.WriteGuestPage, DmaAccess.Write, 1UL << 41, 1UL << 41);
    }

    [Fact]
    public void Nested_tells_table_faults_from_page_faults()
    {
        SetContext(1, Iohgatp, Fsc);
        for (var a = _memory.Options.ArenaBase; a < _memory.Options.ArenaBase + (8 << 20); a += 0x1000)
            _second.Map(a, a, 0x1000, Page);
        _second.Map(0x20_0000_0000, 0x8888_8000, 0x1000, Page & ~PageAttributes.Write);
        _first.Map(0x5000, 0x20_0000_0000, 0x1000, Page);
        _first.Map(0x6000, 0x21_0000_0000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5010, out var translation));
        Assert.Equal(0x8888_8010UL, translation.Output);
        Expect(RiscvCause.WriteGuestPage, DmaAccess.Write, 0x5018, 0x20_0000_0018);
        Expect(RiscvCause.ReadGuestPage, DmaAccess.Read, 0x6018, 0x21_0000_0018);
        Expect(RiscvCause.ReadPage, DmaAccess.Read, 0x7000);
        _memory.Write64(_first.Root + 8, (0x30_0000_0000UL >> 2) | 1);
        Expect(RiscvCause.ReadGuestPage, DmaAccess.Read, 0x4000_5000, (0x30_0000_0000 + 0) | 1);
        Expect(RiscvCause.WriteGuestPage, DmaAccess.Write, 0x4020_5000, (0x30_0000_0000 + 8) | 1);
    }

    [Fact]
    public void Process_directory()
    {
        var pdt = _memory.Allocate();
        SetContext(1 | (1 << 5), 0, (1UL << 60) | (pdt >> 12));
        _memory.Write64(pdt + (0x2A * 16), 1 | (9 << 12));
        _memory.Write64(pdt + (0x2A * 16) + 8, Fsc);
        _first.Map(0x5000, 0x7000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5010, out var translation, 0x2A));
        Assert.Equal(0x7010UL, translation.Output);
        Assert.True(Try(DmaAccess.Read, 0x5010, out translation)); // no DPE: bare without a process
        Assert.Equal(0x5010UL, translation.Output);
        Expect(RiscvCause.PdtNotValid, DmaAccess.Read, 0x5010, 0, 0x2B);
        Expect(RiscvCause.TypeDisallowed, DmaAccess.Read, 0x5010, 0, 0x100);
        Expect(RiscvCause.TypeDisallowed, DmaAccess.Read | DmaAccess.Privileged, 0x5010, 0, 0x2A);
        _memory.Write64(pdt + (0x2A * 16), 1 | (9 << 12) | 2);
        Command(3 | (1 << 7) | (1UL << 33) | ((ulong)Did << 40) | (0x2A << 12), 0);
        Expect(RiscvCause.ReadPage, DmaAccess.Read | DmaAccess.Privileged, 0x5010, 0, 0x2A);
        _memory.Write64(pdt + (0x2A * 16), 1 | (9 << 12) | 2 | 4);
        Command(3 | (1 << 7) | (1UL << 33) | ((ulong)Did << 40) | (0x2A << 12), 0);
        Assert.True(Try(DmaAccess.Read | DmaAccess.Privileged, 0x5010, out _, 0x2A));
    }

    [Theory]
    [InlineData(1UL | (1UL << 12), 0UL, 0UL)]                // reserved bit of tc
    [InlineData(1UL | (1UL << 2), 0UL, 0UL)]                 // EN_PRI without EN_ATS
    [InlineData(1UL | (1UL << 9), 0UL, 0UL)]                 // DPE without PDTV
    [InlineData(1UL | (1UL << 10), 0UL, 0UL)]                // SBE
    [InlineData(1UL, 7UL << 60, 0UL)]                        // reserved second-stage mode
    [InlineData(1UL, (8UL << 60) | 1UL, 0UL)]                // root not 16 KiB aligned
    [InlineData(1UL, 0UL, 11UL << 60)]                       // reserved first-stage mode
    [InlineData(1UL | (1UL << 5), 0UL, 4UL << 60)]           // reserved directory mode
    [InlineData(1UL, 0UL, 1UL << 50)]                        // reserved bit of fsc
    public void A_misconfigured_context_is_cause_259(ulong tc, ulong iohgatp, ulong fsc)
    {
        SetContext(tc, iohgatp, fsc);
        Expect(RiscvCause.DdtMisconfigured, DmaAccess.Read, 0x1000);
    }

    [Fact]
    public void Directory_faults()
    {
        Expect(RiscvCause.DdtNotValid, DmaAccess.Read, 0x1000);
        Expect(RiscvCause.TypeDisallowed, DmaAccess.Read, 0x1000, did: 0x40);
        _unit.WriteRegister(RiscvRegister.ddtp, 8, 0);
        _unit.WriteRegister(RiscvRegister.ddtp, 8, (_directory >> 2) | 4);
        _memory.Write64(_directory, (_directory >> 2) | 3);
        Expect(RiscvCause.DdtMisconfigured, DmaAccess.Read, 0x1000);
        _memory.Write64(_directory, 0x003F_FFFF_FFFF_FC01);
        Expect(RiscvCause.DdtLoad, DmaAccess.Read, 0x1000);
    }

    [Fact]
    public void Three_level_directory()
    {
        var middle = _memory.Allocate();
        var leaf = _memory.Allocate();
        _unit.WriteRegister(RiscvRegister.ddtp, 8, 0);
        _unit.WriteRegister(RiscvRegister.ddtp, 8, (_directory >> 2) | 4);
        const ushort did = 0xABCD;
        _memory.Write64(_directory + ((did >> 15) * 8), (middle >> 2) | 1);
        _memory.Write64(middle + ((did >> 6 & 0x1FF) * 8), (leaf >> 2) | 1);
        _memory.Write64(leaf + ((did & 0x3F) * 64), 1);
        Assert.True(Try(DmaAccess.Read, 0x1234, out var translation, did: did));
        Assert.Equal(0x1234UL, translation.Output);
    }

    [Fact]
    public void DTF_keeps_page_faults_out_of_the_queue()
    {
        SetContext(1 | (1 << 4), 0, Fsc);
        Assert.False(Try(DmaAccess.Read, 0x5000, out _));
        Assert.Equal(0UL, _unit.ReadRegister(RiscvRegister.fqt, 4));
    }

    [Fact]
    public void A_full_fault_queue_overflows()
    {
        SetContext(1, 0, Fsc);
        _unit.WriteRegister(RiscvRegister.fqcsr, 4, 3);
        for (var i = 0; i < 130; i++)
            Try(DmaAccess.Read, 0x5000, out _);
        Assert.Equal(127UL, _unit.ReadRegister(RiscvRegister.fqt, 4));
        Assert.Equal(0x1_0203UL, _unit.ReadRegister(RiscvRegister.fqcsr, 4));
        Assert.Single(_messages);
        _unit.WriteRegister(RiscvRegister.fqcsr, 4, 0x203);
        _unit.WriteRegister(RiscvRegister.ipsr, 4, 2);
        _unit.WriteRegister(RiscvRegister.fqh, 4, 127);
        Try(DmaAccess.Read, 0x5000, out _);
        Assert.Equal(0UL, _unit.ReadRegister(RiscvRegister.fqt, 4));
    }

    [Fact]
    public void VMA_invalidation_is_by_address_and_PSCID()
    {
        SetContext(1, 0, Fsc);
        _first.Map(0x5000, 0x7000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        _first.Unmap(0x5000, 0x1000);
        Command(1 | (1 << 10) | (1UL << 32) | (7 << 12), 0x6000 >> 2);
        Command(1 | (1 << 10) | (1UL << 32) | (8 << 12), 0x5000 >> 2);
        Command(1 | (1 << 7), 0);
        _unit.ChecksStaleness = true;
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        Assert.Equal("IOTINVAL.VMA of PSCID 7, address 0x5000", Assert.Single(_unit.StaleUses).Missed);
        Command(1 | (1 << 10) | (1UL << 32) | (7 << 12), 0x5000 >> 2);
        Expect(RiscvCause.ReadPage, DmaAccess.Read, 0x5000);
    }

    [Fact]
    public void GVMA_invalidation_is_by_GSCID()
    {
        SetContext(1, Iohgatp, 0);
        _second.Map(0x5000, 0x7000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        _second.Unmap(0x5000, 0x1000);
        Command(1, 0);
        Command(1 | (1 << 7) | (1UL << 33) | (4UL << 44), 0);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        Command(1 | (1 << 7) | (1UL << 33) | (3UL << 44), 0);
        Expect(RiscvCause.ReadGuestPage, DmaAccess.Read, 0x5000, 0x5000);
    }

    [Fact]
    public void IOFENCE_C_writes_its_data_and_an_illegal_command_stops_the_queue()
    {
        var at = _memory.Allocate();
        Command(2 | (1 << 10) | (0xCAFEUL << 32), at >> 2);
        Assert.True(_memory.Read32(at, out var data) && data == 0xCAFE);
        var head = _unit.ReadRegister(RiscvRegister.cqh, 4);
        Command(0x7F, 0);
        Assert.Equal(0x1_0401UL, _unit.ReadRegister(RiscvRegister.cqcsr, 4));
        Assert.Equal(head, _unit.ReadRegister(RiscvRegister.cqh, 4));
        _memory.Write64(_commands + (head * 16), 2);
        _unit.WriteRegister(RiscvRegister.cqcsr, 4, 0x401);
        Assert.Equal(head + 1, _unit.ReadRegister(RiscvRegister.cqh, 4));
    }

    [Fact]
    public void A_message_goes_to_the_interrupt_file_that_the_MSI_table_names()
    {
        var table = _memory.Allocate();
        SetContext(1, Iohgatp, 0, msiptp: (1UL << 60) | (table >> 12), mask: 0x5, pattern: 0x2_8000);
        // Page 0x28004: bits under the mask are 1 and 0, so file 2.
        _memory.Write64(table + (2 * 16), (0x2800_3000UL >> 2) | 7);
        uint data = 0x33;
        Assert.Equal(DmaStatus.Success, _unit.Write(Did, DmaRequest.NoPasid, 0x2800_4000, &data, 4));
        Assert.Equal((Did, 0x2800_3000UL, 0x33u), Assert.Single(_messages));
        Expect(RiscvCause.MsiNotValid, DmaAccess.Write, 0x2800_1000);
        _memory.Write64(table + 16, 1 | (1UL << 60));
        Expect(RiscvCause.MsiMisconfigured, DmaAccess.Write, 0x2800_1000);
    }

    [Fact]
    public void A_message_to_a_memory_resident_file_is_kept_there_and_announced_if_enabled()
    {
        var table = _memory.Allocate();
        var file = _memory.Allocate();
        SetContext(1, Iohgatp, 0, msiptp: (1UL << 60) | (table >> 12), mask: 0x5, pattern: 0x2_8000);
        _memory.Write64(table, (file >> 2) | 3);
        _memory.Write64(table + 8, (0x2800_9000UL >> 2) | 0x155);
        _memory.Write64(file + 16 + 8, 1 << 6);
        uint data = 70;
        Assert.Equal(DmaStatus.Success, _unit.Write(Did, DmaRequest.NoPasid, 0x2800_0000, &data, 4));
        data = 71;
        Assert.Equal(DmaStatus.Success, _unit.Write(Did, DmaRequest.NoPasid, 0x2800_0000, &data, 4));
        Assert.True(_memory.Read64(file + 16, out var pending));
        Assert.Equal(0xC0UL, pending);
        Assert.Equal((Did, 0x2800_9000UL, 0x155u), Assert.Single(_messages));
    }

    [Fact]
    public void The_debug_interface_translates_and_encodes_superpages()
    {
        SetContext(1, 0, Fsc);
        _first.Map(0x4000_0000, 0x8000_0000, 0x20_0000, Page);
        _first.Map(0x5000, 0x7000, 0x1000, Page);
        Assert.Equal(0x7000UL >> 2, Debug(0x5000));
        Assert.Equal((0x8000_0000UL >> 2) | (0xFFUL << 10) | (1 << 9), Debug(0x4012_3000));
        Assert.Equal(1UL, Debug(0x6000));
        ulong Debug(ulong iova)
        {
            _unit.WriteRegister(RiscvRegister.tr_req_iova, 8, iova);
            _unit.WriteRegister(RiscvRegister.tr_req_ctl, 8, 1 | 8 | ((ulong)Did << 40));
            return _unit.ReadRegister(RiscvRegister.tr_response, 8);
        }
    }

    [Fact]
    public void A_page_request_reaches_its_queue()
    {
        var pages = _memory.Allocate();
        _unit.WriteRegister(RiscvRegister.pqb, 8, (pages >> 2) | 6);
        _unit.WriteRegister(RiscvRegister.pqcsr, 4, 1);
        SetContext(1 | 2 | 4, 0, Fsc);
        Assert.True(_unit.RequestPage(new PageRequest(Did, DmaRequest.NoPasid, 0x5000, DmaAccess.Write, 5, true)));
        _memory.Read64(pages, out var header);
        _memory.Read64(pages + 8, out var payload);
        Assert.Equal((ulong)Did << 40, header);
        Assert.Equal(0x5000UL | (5 << 3) | 4 | 2, payload);
        Assert.Equal(1UL, _unit.ReadRegister(RiscvRegister.pqt, 4));
    }
}
