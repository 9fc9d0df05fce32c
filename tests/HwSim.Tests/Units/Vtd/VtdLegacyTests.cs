using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Units.Vtd;

public sealed class VtdLegacyTests : IDisposable
{
    private readonly VtdMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void After_reset_DMA_passes_untranslated()
    {
        Assert.True(_machine.Read(0x1234_5678, out var translation));
        Assert.Equal(0x1234_5678UL, translation.Output);
    }

    [Fact]
    public void SRTP_and_TE_show_in_GSTS()
    {
        _machine.StartLegacy();
        Assert.Equal(0xC000_0000UL, _machine.Unit.ReadRegister(VtdRegister.GSTS, 4));
    }

    [Fact]
    public void A_mapped_page_translates_with_its_permissions()
    {
        _machine.StartLegacy();
        Assert.Equal(0, _machine.Table.Map(0x7FFF_1234_5000, 0x1_2345_6000, 0x1000, PageAttributes.Read));
        Assert.True(_machine.Read(0x7FFF_1234_5678, out var translation));
        Assert.Equal(0x1_2345_6678UL, translation.Output);
        Assert.False(_machine.Write(0x7FFF_1234_5678, out translation));
        Assert.Equal((uint)VtdFaultReason.Write, translation.Reason);
    }

    // The raw words are those that QEMU's model gives for the same requests (PASID field aside, which is undefined without PP).
    [Theory]
    [InlineData(false, 0xC000_0006_0000_0018)]
    [InlineData(true, 0x8000_0005_0000_0018)]
    public void A_miss_is_recorded_with_requester_reason_and_type(bool write, ulong expected)
    {
        _machine.StartLegacy();
        _ = write ? _machine.Write(0x1234_5678, out _) : _machine.Read(0x1234_5678, out _);
        Assert.Equal(expected, _machine.Fault());
        Assert.Equal(0x1234_5000UL, _machine.FaultAddress());
        Assert.Equal(2UL, _machine.Unit.ReadRegister(VtdRegister.FSTS, 4));
    }

    [Fact]
    public void An_address_above_the_width_is_reason_4()
    {
        _machine.StartLegacy();
        Assert.False(_machine.Read(1UL << 48, out var translation));
        Assert.Equal((uint)VtdFaultReason.AddressBeyondMgaw, translation.Reason);
    }

    [Fact]
    public void Each_broken_structure_has_its_own_reason()
    {
        _machine.StartLegacy();
        void Expect(VtdFaultReason reason, ushort sid = VtdMachine.Sid)
        {
            Assert.False(_machine.Read(0x5000, out var translation, sid));
            Assert.Equal(reason, (VtdFaultReason)translation.Reason);
        }

        Expect(VtdFaultReason.RootNotPresent, 0x118);
        Expect(VtdFaultReason.ContextNotPresent, 0x20);
        _machine.SetContext(_machine.Table.Root | 1 | (3 << 2), 2);
        Expect(VtdFaultReason.ContextInvalid);
        _machine.SetContext(_machine.Table.Root | 1, 3);
        Expect(VtdFaultReason.ContextInvalid);
        _machine.SetContext(_machine.Table.Root | 1 | (1 << 5), 2);
        Expect(VtdFaultReason.ContextReserved);
        _machine.SetContext(0x3F_FFFF_F000 | 1, 2);
        Expect(VtdFaultReason.NextTableInvalid);
        _machine.FlushContexts();
        _machine.SetContext(_machine.Table.Root | 1, 2);
        _machine.Memory.Write64(_machine.Table.Root, _machine.Root | 3 | (1 << 7));
        Expect(VtdFaultReason.PagingReserved);
        _machine.Memory.Write64(_machine.Table.Root, 0);
        _machine.Memory.Write64(_machine.Root, _machine.ContextTable | 3);
        _machine.FlushContexts();
        Expect(VtdFaultReason.RootReserved);
        _machine.Memory.Write64(_machine.Root, 0x3F_FFFF_F001);
        Expect(VtdFaultReason.ContextTableInvalid);
        _machine.Start(0x3F_FFFF_F000);
        Expect(VtdFaultReason.RootTableInvalid);
    }

    [Fact]
    public void FPD_keeps_faults_out_of_the_registers()
    {
        _machine.StartLegacy();
        _machine.SetContext(_machine.Table.Root | 3, 2);
        Assert.False(_machine.Read(0x5000, out _));
        Assert.Equal(0UL, _machine.Fault());
    }

    [Fact]
    public void A_second_fault_of_the_same_requester_is_compressed_and_others_fill_the_registers_until_overflow()
    {
        using var machine = new VtdMachine(new VtdOptions { FaultRecords = 2 });
        machine.StartLegacy();
        machine.SetContext(machine.Table.Root | 1, 2, 0x20);
        machine.SetContext(machine.Table.Root | 1, 2, 0x28);
        machine.Read(0x1000, out _);
        machine.Read(0x2000, out _);
        Assert.Equal(0UL, machine.Fault(1));
        machine.Read(0x3000, out _, 0x20);
        Assert.Equal(0x3000UL, machine.FaultAddress(1));
        machine.Read(0x4000, out _, 0x28);
        Assert.Equal(3UL, machine.Unit.ReadRegister(VtdRegister.FSTS, 4));
        machine.ClearFault(0);
        machine.Read(0x5000, out _, 0x28);
        Assert.Equal(0UL, machine.Fault(0) >> 63);
        machine.Unit.WriteRegister(VtdRegister.FSTS, 4, 1);
        machine.Read(0x5000, out _, 0x28);
        Assert.Equal(0x5000UL, machine.FaultAddress(0));
        Assert.Equal(2UL | (1 << 8), machine.Unit.ReadRegister(VtdRegister.FSTS, 4));
        machine.ClearFault(0);
        machine.ClearFault(1);
        Assert.Equal(0UL, machine.Unit.ReadRegister(VtdRegister.FSTS, 4) & 3);
    }

    [Fact]
    public void The_fault_event_is_one_message_when_unmasked()
    {
        _machine.StartLegacy();
        _machine.Unit.WriteRegister(VtdRegister.FEADDR, 4, 0xFEE0_1000);
        _machine.Unit.WriteRegister(VtdRegister.FEDATA, 4, 0x41);
        _machine.Read(0x1000, out _);
        Assert.Empty(_machine.Messages);
        Assert.Equal(0xC000_0000UL, _machine.Unit.ReadRegister(VtdRegister.FECTL, 4));
        _machine.Unit.WriteRegister(VtdRegister.FECTL, 4, 0);
        _machine.Read(0x2000, out _);
        Assert.Equal([((ushort)0xf8, 0xFEE0_1000UL, 0x41u)], _machine.Messages);
    }

    [Fact]
    public void Pass_through_is_identity()
    {
        _machine.StartLegacy();
        _machine.SetContext(1 | (2 << 2), 2);
        Assert.True(_machine.Write(0x1_0000_0123, out var translation));
        Assert.Equal(0x1_0000_0123UL, translation.Output);
    }

    [Fact]
    public void A_remap_stays_stale_until_the_IOTLB_is_invalidated()
    {
        _machine.StartLegacy();
        _machine.Table.Map(0x5000, 0x1_0000_5000, 0x1000, PageAttributes.Read | PageAttributes.Write);
        Assert.True(_machine.Read(0x5000, out _));
        _machine.Table.Unmap(0x5000, 0x1000);
        _machine.Table.Map(0x5000, 0x1_0000_9000, 0x1000, PageAttributes.Read | PageAttributes.Write);
        Assert.True(_machine.Read(0x5000, out var stale));
        Assert.Equal(0x1_0000_5000UL, stale.Output);

        _machine.Unit.WriteRegister(VtdRegister.IVA, 8, 0x6000);
        _machine.Unit.WriteRegister(VtdRegister.IOTLB, 8, (1UL << 63) | (3UL << 60) | ((ulong)VtdMachine.Domain << 32));
        Assert.True(_machine.Read(0x5000, out stale));
        Assert.Equal(0x1_0000_5000UL, stale.Output);

        _machine.Unit.WriteRegister(VtdRegister.IVA, 8, 0x4000 | 1);
        _machine.Unit.WriteRegister(VtdRegister.IOTLB, 8, (1UL << 63) | (3UL << 60) | ((ulong)VtdMachine.Domain << 32));
        Assert.Equal(3UL << 57, _machine.Unit.ReadRegister(VtdRegister.IOTLB, 8) & (0x83UL << 56 | 3UL << 57));
        Assert.True(_machine.Read(0x5000, out var fresh));
        Assert.Equal(0x1_0000_9000UL, fresh.Output);
    }

    [Fact]
    public void Invalidating_another_domain_changes_nothing()
    {
        _machine.StartLegacy();
        _machine.Table.Map(0x5000, 0x1_0000_5000, 0x1000, PageAttributes.Read);
        Assert.True(_machine.Read(0x5000, out _));
        _machine.Table.Unmap(0x5000, 0x1000);
        _machine.Unit.WriteRegister(VtdRegister.IOTLB, 8, (1UL << 63) | (2UL << 60) | (6UL << 32));
        Assert.True(_machine.Read(0x5000, out _));
        _machine.Unit.WriteRegister(VtdRegister.IOTLB, 8, (1UL << 63) | (2UL << 60) | (5UL << 32));
        Assert.False(_machine.Read(0x5000, out _));
    }

    [Fact]
    public void One_4K_invalidation_inside_a_2M_page_drops_the_whole_page()
    {
        _machine.StartLegacy();
        _machine.Table.Map(0x20_0000, 0x1_0020_0000, 0x20_0000, PageAttributes.Read);
        Assert.True(_machine.Read(0x20_1000, out _));
        Assert.True(_machine.Read(0x3F_F000, out _));
        _machine.Table.Unmap(0x20_0000, 0x20_0000);
        _machine.Unit.WriteRegister(VtdRegister.IVA, 8, 0x28_0000);
        _machine.Unit.WriteRegister(VtdRegister.IOTLB, 8, (1UL << 63) | (3UL << 60) | (5UL << 32));
        Assert.False(_machine.Read(0x20_1000, out _));
        Assert.False(_machine.Read(0x3F_F000, out _));
    }

    [Fact]
    public void A_context_change_needs_a_context_cache_invalidation()
    {
        _machine.StartLegacy();
        _machine.Table.Map(0x5000, 0x1_0000_5000, 0x1000, PageAttributes.Read);
        Assert.True(_machine.Read(0x5000, out _));
        _machine.SetContext(0, 0);
        Assert.True(_machine.Read(0x5000, out _));
        _machine.Unit.WriteRegister(VtdRegister.CCMD, 8, (1UL << 63) | (3UL << 61) | ((ulong)VtdMachine.Sid << 16) | VtdMachine.Domain);
        Assert.Equal(3UL << 59, _machine.Unit.ReadRegister(VtdRegister.CCMD, 8) & (3UL << 59));
        Assert.False(_machine.Read(0x5000, out var translation));
        Assert.Equal((uint)VtdFaultReason.ContextNotPresent, translation.Reason);
    }

    [Fact]
    public unsafe void A_DMA_crosses_pages_and_stops_at_the_first_fault()
    {
        _machine.StartLegacy();
        var first = _machine.Memory.Allocate();
        var second = _machine.Memory.Allocate();
        _machine.Table.Map(0x5000, second, 0x1000, PageAttributes.Read | PageAttributes.Write);
        _machine.Table.Map(0x6000, first, 0x1000, PageAttributes.Read | PageAttributes.Write);
        var bytes = stackalloc byte[0x1800];
        for (var i = 0; i < 0x1800; i++)
            bytes[i] = (byte)(i * 3);
        Assert.Equal(DmaStatus.Success, _machine.Unit.Write(VtdMachine.Sid, DmaRequest.NoPasid, 0x5800, bytes, 0x1800));
        Assert.True(_machine.Memory.Read8(second + 0x801, out var value) && value == 3);
        Assert.True(_machine.Memory.Read8(first, out value) && value == unchecked((byte)(0x800 * 3)));
        Assert.Equal(DmaStatus.Fault, _machine.Unit.Write(VtdMachine.Sid, DmaRequest.NoPasid, 0x6800, bytes, 0x1800));
        Assert.Equal(0x7000UL, _machine.FaultAddress());
    }

    [Fact]
    public void A_translation_allocates_nothing()
    {
        _machine.StartLegacy();
        _machine.Table.Map(0, 0x1_0000_0000, 0x100_0000, PageAttributes.Read | PageAttributes.Write);
        void Run()
        {
            for (ulong iova = 0; iova < 0x100_0000; iova += 0x1000)
                Assert.True(_machine.Read(iova, out _));
        }

        Run();
        var before = GC.GetAllocatedBytesForCurrentThread();
        Run();
        _machine.FlushIoTlb();
        Run();
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 200);
    }
}
