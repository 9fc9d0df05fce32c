using IommuFd.HwSim;
using IommuFd.HwSim.Units;
using IommuFd.Native;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>No-snoop DMA: the four boxes of "can the IOMMU enforce" and "can the device", judged by the entry that the unit reads.</summary>
public sealed class NoSnoopTests
{
    private const ulong Page = RfcMachine.Page;

    // A device that can send no-snoop requests, and one that cannot.
    private const string Can = RfcMachine.Accelerator, Cannot = RfcMachine.Edu;

    [Fact]
    [Trait("rfc", "1.7-box1")]
    [Trait("rfc", "1.7-policy")]
    public void Box_1_the_user_chooses_and_only_a_disabled_space_is_not_coherent()
    {
        Assert.Equal((true, false), Attach(canEnforce: true, Can, IOMMU_IOASID_ENFORCE_SNOOP));
        Assert.Equal((true, false), Attach(canEnforce: true, Can, IOMMU_IOASID_SNOOP_AUTO));
        Assert.Equal((false, true), Attach(canEnforce: true, Can, 0));
    }

    [Fact]
    [Trait("rfc", "1.7-box2")]
    public void Box_2_is_coherent_whatever_is_chosen()
    {
        Assert.Equal((true, false), Attach(canEnforce: true, Cannot, IOMMU_IOASID_ENFORCE_SNOOP));
        Assert.Equal((true, false), Attach(canEnforce: true, Cannot, IOMMU_IOASID_SNOOP_AUTO));
        Assert.Equal((false, false), Attach(canEnforce: true, Cannot, 0));
    }

    [Fact]
    [Trait("rfc", "1.7-box3")]
    [Trait("rfc", "1.7-policy")]
    public void Box_3_is_not_coherent_and_cannot_be_enforced()
    {
        Assert.Null(Attach(canEnforce: false, Can, IOMMU_IOASID_ENFORCE_SNOOP));
        Assert.Equal((false, true), Attach(canEnforce: false, Can, IOMMU_IOASID_SNOOP_AUTO));
        Assert.Equal((false, true), Attach(canEnforce: false, Can, 0));
    }

    [Fact]
    [Trait("rfc", "1.7-box4")]
    public void Box_4_is_coherent_because_the_devices_driver_says_so()
    {
        Assert.Null(Attach(canEnforce: false, Cannot, IOMMU_IOASID_ENFORCE_SNOOP));
        Assert.Equal((false, false), Attach(canEnforce: false, Cannot, IOMMU_IOASID_SNOOP_AUTO));
    }

    [Fact]
    [Trait("rfc", "1.7-hint")]
    public void The_hint_drops_box_3_and_contradictions_are_refused()
    {
        Assert.Equal((false, false), Attach(canEnforce: false, Can, 0, IOASID_ATTACH_SNOOP));
        Assert.Equal((false, true), Attach(canEnforce: false, Can, 0, IOASID_ATTACH_NO_SNOOP));
        Assert.Null(Attach(canEnforce: false, Cannot, 0, IOASID_ATTACH_NO_SNOOP));
        Assert.Null(Attach(canEnforce: true, Can, IOMMU_IOASID_SNOOP_AUTO, IOASID_ATTACH_NO_SNOOP));
        Assert.Null(Attach(canEnforce: true, Can, 0, IOASID_ATTACH_NO_SNOOP | IOASID_ATTACH_SNOOP));
    }

    [Fact]
    [Trait("rfc", "1.7-hint")]
    public void KVM_asks_by_file_and_the_answer_follows_the_attachments()
    {
        using var machine = new RfcMachine();
        int iommu = machine.OpenIommu(), other = machine.OpenIommu(), device = machine.OpenBound(Can, iommu, 1),
            ioasid = machine.Alloc(iommu, flags: 0);
        Assert.False(machine.Host.HasNoncoherentDma(iommu));
        Assert.Equal(0, machine.Attach(device, iommu, ioasid));
        Assert.True(machine.Host.HasNoncoherentDma(iommu));
        Assert.False(machine.Host.HasNoncoherentDma(other));
        Assert.Equal(0, machine.Detach(device, iommu, ioasid));
        Assert.False(machine.Host.HasNoncoherentDma(iommu));
    }

    [Fact]
    [Trait("rfc", "1.7-box1")]
    [Trait("rfc", "GET_INFO")]
    public void Whether_the_IOMMU_can_enforce_is_reported_by_cookie()
    {
        foreach (bool can in new[] { true, false })
        {
            using var machine = new RfcMachine(can ? Topology.ByName("rfc") : RfcMachine.WithoutSnoopControl());
            int iommu = machine.OpenIommu();
            _ = machine.OpenBound(Can, iommu, 1);
            Assert.Equal(0, machine.GetInfo(iommu, 1, out var info));
            Assert.Equal(can, (info.flags & IOMMU_DEVICE_INFO_ENFORCE_SNOOP) != 0);
        }
    }

    // Whether the entry that the unit reads forces snooping, and what KVM is told; null when the attach is refused.
    private static (bool Forced, bool Noncoherent)? Attach(bool canEnforce, string address, uint policy, uint hint = 0)
    {
        using var machine = new RfcMachine(canEnforce ? Topology.ByName("rfc") : RfcMachine.WithoutSnoopControl());
        int iommu = machine.OpenIommu(), device = machine.OpenBound(address, iommu, 1), ioasid = machine.Alloc(iommu, flags: policy);
        Assert.Equal(0, machine.Map(iommu, ioasid, 0x1000, machine.Memory(Page), Page));
        int error = machine.Attach(device, iommu, ioasid, flags: hint);
        Assert.True(error is 0 or -Errno.EINVAL);
        return error < 0 ? null : (LeafForcesSnoop(machine, address, 0x1000), machine.Host.HasNoncoherentDma(iommu));
    }

    // Root entry, scalable context entry, PASID directory, PASID entry, second stage: bit 11 of the leaf (data book 9.8).
    private static bool LeafForcesSnoop(RfcMachine machine, string address, ulong iova)
    {
        ulong Read(ulong at) => machine.Host.Memory.Read64(at, out ulong value) ? value : throw new InvalidOperationException();
        uint rid = machine.RequesterId(address);
        ulong root = ((VtdUnit)machine.Host.Unit!).ReadRegister(VtdRegister.RTADDR, 8) & ~0xfffUL;
        ulong contexts = Read(root + ((rid >> 8) * 16) + (((rid >> 7) & 1) * 8)) & ~0xfffUL;
        ulong directory = Read(contexts + ((rid & 0x7f) * 32)) & ~0xfffUL;
        ulong entry = Read(Read(directory) & ~0xfffUL);
        Assert.Equal(2UL, (entry >> 6) & 7);
        ulong table = entry & ~0xfffUL;
        for (int shift = 39; shift > 12; shift -= 9)
        {
            table = Read(table + (((iova >> shift) & 511) * 8)) & 0x000f_ffff_ffff_f000;
        }

        return (Read(table + (((iova >> 12) & 511) * 8)) & (1 << 11)) != 0;
    }
}
