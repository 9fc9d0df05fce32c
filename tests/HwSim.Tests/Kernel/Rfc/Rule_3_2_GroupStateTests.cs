using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Xunit;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Section 3.2 of our notes: the states of a group of two functions behind a bridge to conventional PCI.</summary>
public sealed class Rule_3_2_GroupStateTests : IDisposable
{
    private readonly RfcMachine _machine = new();

    public Rule_3_2_GroupStateTests()
    {
        _machine.BindVfio(RfcMachine.PairA);
        _machine.BindVfio(RfcMachine.PairB);
    }

    private IommuGroup Group => _machine.Group(RfcMachine.PairA);

    public void Dispose() => _machine.Dispose();

    [Fact]
    [Trait("rfc", "3.2-kernel")]
    public void Kernel_is_the_initial_state() => Assert.Same(Group.DefaultDomain, Group.Domain);

    [Fact]
    [Trait("rfc", "3.2-blocked")]
    public void User_blocked_from_the_first_bind_of_any_member_to_the_last_unbind()
    {
        int iommu = _machine.OpenIommu();
        int first = _machine.OpenBound(RfcMachine.PairA, iommu, 1);
        Assert.Same(Group.BlockingDomain, Group.Domain);
        Assert.NotSame(Group.DefaultDomain, Group.Domain);
        int second = _machine.OpenBound(RfcMachine.PairB, iommu, 2);
        Assert.Equal(0, _machine.Kernel.Close(first));
        Assert.Same(Group.BlockingDomain, Group.Domain);
        Assert.Equal(0, _machine.Kernel.Close(second));
        Assert.Same(Group.DefaultDomain, Group.Domain);
    }

    [Fact]
    [Trait("rfc", "3.2-blocked")]
    public void User_blocked_is_entered_only_by_a_viable_group()
    {
        int iommu = _machine.OpenIommu();
        int device = _machine.OpenDevice(RfcMachine.PairA);
        _machine.GiveToHost(RfcMachine.PairB);
        Assert.Equal(-Errno.EINVAL, _machine.Bind(device, iommu, 1));
        Assert.Same(Group.DefaultDomain, Group.Domain);
    }

    [Fact]
    [Trait("rfc", "3.2-ioasid")]
    public void User_ioasid_from_the_first_attach_to_the_last_detach()
    {
        int iommu = _machine.OpenIommu();
        int first = _machine.OpenBound(RfcMachine.PairA, iommu, 1), second = _machine.OpenBound(RfcMachine.PairB, iommu, 2);
        int ioasid = _machine.Alloc(iommu);
        Assert.Equal(0, _machine.Map(iommu, ioasid, 0x1000, _machine.Memory(RfcMachine.Page, 7), RfcMachine.Page));
        Assert.Equal(0, _machine.Attach(first, iommu, ioasid));
        Assert.Equal(7UL, _machine.DmaRead(RfcMachine.PairA, 0x1000));
        Assert.Equal(0, _machine.Attach(second, iommu, ioasid));
        Assert.Equal(0, _machine.Detach(first, iommu, ioasid));
        Assert.Equal(7UL, _machine.DmaRead(RfcMachine.PairB, 0x1000));
        Assert.Equal(0, _machine.Detach(second, iommu, ioasid));
        Assert.Null(_machine.DmaRead(RfcMachine.PairA, 0x1000));
        Assert.Same(Group.BlockingDomain, Group.Domain);
    }
}
