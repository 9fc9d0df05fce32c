using IommuFd.HwSim;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Units.AmdVi;

public sealed class AmdViTests : IInterruptController, IDisposable
{
    private const ushort Device = 0x18;
    private const PageAttributes Page = PageAttributes.Read | PageAttributes.Write | PageAttributes.User;
    private readonly PhysicalMemory _memory = new(new PhysicalMemoryOptions { ArenaSize = 64 << 20, AddressBits = 48 });
    private readonly AmdViUnit _unit;
    private readonly ulong _table;
    private readonly ulong _log;
    private readonly ulong _commands;
    private readonly PageTable<AmdV1> _host;
    private readonly PageTable<X64> _guest;
    private readonly List<(ushort RequesterId, ulong Address, uint Data)> _messages = [];

    public AmdViTests()
    {
        _unit = new AmdViUnit(_memory) { Interrupts = this };
        _table = _memory.Allocate(13);
        _log = _memory.Allocate();
        _commands = _memory.Allocate();
        _host = new PageTable<AmdV1>(_memory, AmdV1.Geometry(4, 48));
        _guest = new PageTable<X64>(_memory, X64.Geometry(48, 48));
        Write(AmdRegister.DEV_TAB_BASE, _table | 1);
        Write(AmdRegister.CMD_BUF_BASE, _commands | (8UL << 56));
        Write(AmdRegister.EVT_LOG_BASE, _log | (8UL << 56));
        Write(AmdRegister.CONTROL, 1 | (1 << 2) | (1 << 12) | (1 << 13) | (1 << 15));
    }

    void IInterruptController.Message(ushort requesterId, ulong address, uint data) => _messages.Add((requesterId, address, data));

    public void Dispose() => _memory.Dispose();

    private ulong HostEntry => 3 | (4UL << 9) | _host.Root | (3UL << 61);

    private void Write(int offset, ulong value) => _unit.WriteRegister(offset, 8, value);

    private void SetEntry(ulong q0, ulong q1 = 5, ulong q2 = 0)
    {
        _memory.Write64(_table + (Device * 32), q0);
        _memory.Write64(_table + (Device * 32) + 8, q1);
        _memory.Write64(_table + (Device * 32) + 16, q2);
        Command((2UL << 60) | Device, 0);
    }

    private void Command(ulong low, ulong high)
    {
        var tail = _unit.ReadRegister(AmdRegister.CMD_TAIL, 8);
        _memory.Write64(_commands + tail, low);
        _memory.Write64(_commands + tail + 8, high);
        Write(AmdRegister.CMD_TAIL, (tail + 16) % 4096);
    }

    private bool Try(DmaAccess access, ulong iova, out DmaTranslation translation, uint pasid = DmaRequest.NoPasid, ushort device = Device) =>
        _unit.Translate(new DmaRequest(device, pasid, iova, access), out translation);

    private void Expect(ulong expected, ulong address, DmaAccess access, ulong iova, uint pasid = DmaRequest.NoPasid, ushort device = Device)
    {
        var tail = _unit.ReadRegister(AmdRegister.EVT_TAIL, 8);
        Assert.False(Try(access, iova, out _, pasid, device));
        Assert.Equal((tail + 16) % 4096, _unit.ReadRegister(AmdRegister.EVT_TAIL, 8));
        _memory.Read64(_log + tail, out var low);
        _memory.Read64(_log + tail + 8, out var high);
        Assert.Equal((expected, address), (low, high));
    }

    // An I/O page fault of device 0x18 in domain 5: flags at bit 48 and up (GN 48, PR 52, RW 53, PE 54, RZ 55).
    private static ulong PageFault(ulong flags, ulong domain = 5) => (2UL << 60) | (flags << 48) | (domain << 32) | Device;

    [Fact]
    public void An_entry_that_is_not_valid_lets_everything_pass()
    {
        Assert.True(Try(DmaAccess.Write, 0x1234, out var translation));
        Assert.Equal(0x1234UL, translation.Output);
    }

    [Fact]
    public void Host_translation_with_pages_of_any_power_of_two()
    {
        SetEntry(HostEntry);
        _host.Map(0x5000, 0x1_0000_1000, 0x1000, Page);
        _host.Map(0x1_0000, 0x2_0001_0000, 0x1_0000, PageAttributes.Read);
        Assert.True(Try(DmaAccess.Write, 0x5010, out var translation));
        Assert.Equal(0x1_0000_1010UL, translation.Output);
        Assert.True(Try(DmaAccess.Read, 0x1_5678, out translation));
        Assert.Equal(0x2_0001_5678UL, translation.Output);
        Assert.Equal(16, translation.SizeLg2);
        Expect(PageFault(0), 0x9000, DmaAccess.Read, 0x9000);
        Expect(PageFault(0x20), 0x9000, DmaAccess.Write, 0x9000);
        Expect(PageFault(0x70), 0x1_0008, DmaAccess.Write, 0x1_0008);
        Expect(PageFault(0), 1UL << 48, DmaAccess.Read, 1UL << 48);
        _host.Walker.Translate(0x5000, WalkAccess.None, out var leaf);
        _memory.Write64(leaf.EntryAddress, leaf.Entry | (1UL << 55));
        Command((8UL << 60), 0);
        Expect(PageFault(0x90), 0x5000, DmaAccess.Read, 0x5000);
    }

    [Fact]
    public void IR_and_IW_of_the_device_table_entry_limit_the_pages()
    {
        SetEntry(HostEntry & ~(1UL << 62));
        _host.Map(0x5000, 0x1_0000_1000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5010, out _));
        Expect(PageFault(0x70), 0x5010, DmaAccess.Write, 0x5010);
        SetEntry(3 | (1UL << 61));
        Command(8UL << 60, 0);
        Assert.True(Try(DmaAccess.Read, 0x5010, out var translation));
        Assert.Equal(0x5010UL, translation.Output);
        Expect(PageFault(0x70), 0x5010, DmaAccess.Write, 0x5010);
        SetEntry(1);
        Expect(PageFault(0), 0x5010, DmaAccess.Read, 0x5010);
    }

    [Fact]
    public void Illegal_entries()
    {
        SetEntry(3 | (7UL << 9));
        Expect((1UL << 60) | Device, 0x5000, DmaAccess.Read, 0x5000);
        SetEntry(3 | (1UL << 3));
        Expect((1UL << 60) | Device, 0x5000, DmaAccess.Read, 0x5000);
        Expect((1UL << 60) | 0x100, 0x5000, DmaAccess.Read, 0x5000, device: 0x100);
        Write(AmdRegister.DEV_TAB_BASE, 0x7000_0000_0000);
        Command(8UL << 60, 0);
        Expect((3UL << 60) | Device, 0x7000_0000_0300, DmaAccess.Read, 0x5000);
        SetEntry(0);
    }

    [Fact]
    public void SE_records_one_page_fault_and_SA_none()
    {
        SetEntry(HostEntry, 5 | (1UL << 33));
        Try(DmaAccess.Read, 0x9000, out _);
        Try(DmaAccess.Read, 0x9000, out _);
        Assert.Equal(16UL, _unit.ReadRegister(AmdRegister.EVT_TAIL, 8));
        SetEntry(HostEntry, 5 | (1UL << 34));
        Try(DmaAccess.Read, 0x9000, out _);
        Assert.Equal(16UL, _unit.ReadRegister(AmdRegister.EVT_TAIL, 8));
    }

    private ulong SetGuest(uint pasid, bool host)
    {
        var gcr3 = _memory.Allocate();
        _memory.Write64(gcr3 + (pasid * 8), _guest.Root | 1);
        SetEntry((host ? HostEntry : 3 | (3UL << 61)) | (1UL << 55) | ((gcr3 >> 12 & 7) << 58), 5 | ((gcr3 >> 15 & 0xFFFF) << 16)
            | (gcr3 >> 31 << 43));
        return gcr3;
    }

    [Fact]
    public void Guest_translation_by_PASID_through_GCR3()
    {
        SetGuest(7, host: false);
        _guest.Map(0x5000, 0x1_0000_2000, 0x1000, Page);
        _guest.Map(0x6000, 0x1_0000_2000, 0x1000, PageAttributes.Read | PageAttributes.Write);
        Assert.True(Try(DmaAccess.Write, 0x5010, out var translation, 7));
        Assert.Equal(0x1_0000_2010UL, translation.Output);
        Assert.True(Try(DmaAccess.Write, 0x5010, out translation));
        Assert.Equal(0x5010UL, translation.Output);
        Expect(PageFault(0x55, 7), 0x6000, DmaAccess.Read, 0x6000, 7);
        Expect(PageFault(0x05, 8), 0x5000, DmaAccess.Read, 0x5000, 8);
        Expect(PageFault(0x05, 0x200), 0x5000, DmaAccess.Read, 0x5000, 0x200);
    }

    [Fact]
    public void Nested_translation_reads_guest_tables_at_guest_addresses()
    {
        for (var a = _memory.Options.ArenaBase; a < _memory.Options.ArenaBase + (8 << 20); a += 0x1000)
            _host.Map(a, a, 0x1000, Page);
        SetGuest(7, host: true);
        _host.Map(0x20_0000_0000, 0x8888_8000, 0x1000, PageAttributes.Read);
        _guest.Map(0x5000, 0x20_0000_0000, 0x1000, Page);
        _guest.Map(0x6000, 0x21_0000_0000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5010, out var translation, 7));
        Assert.Equal(0x8888_8010UL, translation.Output);
        Expect(PageFault(0x75, 7), 0x5010, DmaAccess.Write, 0x5010, 7);
        Expect(PageFault(0x05, 7), 0x6010, DmaAccess.Read, 0x6010, 7);
    }

    [Fact]
    public void Host_dirty_bits_are_kept_with_HAD()
    {
        SetEntry(HostEntry | (3 << 7));
        _host.Map(0x5000, 0x1_0000_1000, 0x3000, Page);
        Assert.True(Try(DmaAccess.Read, 0x6000, out _));
        Assert.True(Try(DmaAccess.Write, 0x7000, out _));
        var bitmap = new ulong[1];
        _host.ReadDirty(0x5000, 0x3000, bitmap, 0x1000, clear: true);
        Assert.NotEqual(0UL, bitmap[0] & 4);
        Assert.Equal(0UL, bitmap[0] & 1);
    }

    [Fact]
    public void Pages_stay_stale_until_INVALIDATE_IOMMU_PAGES_of_the_right_domain()
    {
        SetEntry(HostEntry);
        _host.Map(0x5000, 0x1_0000_1000, 0x1000, Page);
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        _host.Unmap(0x5000, 0x1000);
        Command((3UL << 60) | (6UL << 32), 0x5000);
        Command((3UL << 60) | (5UL << 32), 0x6000);
        _unit.ChecksStaleness = true;
        Assert.True(Try(DmaAccess.Read, 0x5000, out _));
        Assert.Equal("INVALIDATE_IOMMU_PAGES of domain 5, address 0x5000", Assert.Single(_unit.StaleUses).Missed);
        Command((3UL << 60) | (5UL << 32), 0x7FFF_FFFF_FFFF_F000 | 1);
        Expect(PageFault(0), 0x5000, DmaAccess.Read, 0x5000);
    }

    [Fact]
    public void COMPLETION_WAIT_stores_and_interrupts()
    {
        var at = _memory.Allocate();
        Write(AmdRegister.CONTROL, 1 | (1 << 2) | (1 << 4) | (1 << 12));
        _unit.WriteRegister(AmdRegister.MSI_ADDR_LO, 4, 0xFEE0_0000);
        _unit.WriteRegister(AmdRegister.MSI_DATA, 4, 0x42);
        Command((1UL << 60) | at | 3, 0x1122_3344_5566_7788);
        Assert.True(_memory.Read64(at, out var data));
        Assert.Equal(0x1122_3344_5566_7788UL, data);
        Assert.Equal((ushort)2, Assert.Single(_messages).RequesterId);
        Assert.Equal(4UL, _unit.ReadRegister(AmdRegister.STATUS, 8) & 4);
        Write(AmdRegister.STATUS, 4);
        Assert.Equal(0UL, _unit.ReadRegister(AmdRegister.STATUS, 8) & 4);
    }

    [Fact]
    public void An_illegal_command_stops_the_command_buffer()
    {
        var at = _commands + _unit.ReadRegister(AmdRegister.CMD_TAIL, 8);
        Command(15UL << 60, 0);
        Assert.Equal(0UL, _unit.ReadRegister(AmdRegister.STATUS, 8) & 16);
        _memory.Read64(_log, out var low);
        _memory.Read64(_log + 8, out var high);
        Assert.Equal((5UL << 60, at), (low, high));
        _memory.Write64(at, 8UL << 60);
        Write(AmdRegister.CONTROL, 1 | (1 << 2));
        Write(AmdRegister.CONTROL, 1 | (1 << 2) | (1 << 12));
        Assert.Equal(_unit.ReadRegister(AmdRegister.CMD_TAIL, 8), _unit.ReadRegister(AmdRegister.CMD_HEAD, 8));
    }

    [Fact]
    public void A_full_event_log_overflows_and_stops()
    {
        SetEntry(HostEntry);
        for (var i = 0; i < 300; i++)
            Try(DmaAccess.Read, 0x9000, out _);
        Assert.Equal(255UL * 16, _unit.ReadRegister(AmdRegister.EVT_TAIL, 8));
        Assert.Equal(1UL, _unit.ReadRegister(AmdRegister.STATUS, 8) & 9);
    }

    [Fact]
    public void A_page_request_reaches_the_PPR_log()
    {
        var pages = _memory.Allocate();
        Write(AmdRegister.PPR_LOG_BASE, pages | (8UL << 56));
        SetEntry(HostEntry | (1UL << 52));
        Assert.True(_unit.RequestPage(new PageRequest(Device, DmaRequest.NoPasid, 0x5000, DmaAccess.Read | DmaAccess.Write, 3, true)));
        _memory.Read64(pages, out var low);
        _memory.Read64(pages + 8, out var high);
        Assert.Equal(Device | (3UL << 32) | (1UL << 41) | (1UL << 50) | (1UL << 53) | (1UL << 54) | (1UL << 60), low);
        Assert.Equal(0x5000UL, high);
    }
}
