using IommuFd.Native;
using Xunit;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Mediated devices: routed by the parent's RID and a PASID that the user never sees, or purely in software.</summary>
public sealed unsafe class MdevTests : RfcTest
{
    [Fact]
    [Trait("rfc", "1.2-mdev")]
    [Trait("rfc", "1.6-type3")]
    [Trait("rfc", "CAP_PASID")]
    public void A_mediated_device_has_one_space_behind_its_parents_RID_and_its_default_PASID()
    {
        int device = _machine.OpenBoundMdev("default", _iommu, 3), ioasid = _machine.Alloc(_iommu);
        Assert.Null(_machine.PasidCapability(device));
        Assert.Equal(0, _machine.Map(_iommu, ioasid, 0x1000, _machine.Memory(Page, 33), Page));
        Assert.Null(_machine.MdevRead(device, 0x1000));
        Assert.Equal(0, _machine.Attach(device, _iommu, ioasid));
        Assert.Equal(33UL, _machine.MdevRead(device, 0x1000));

        // Requests of the parent itself, without PASID, stay in the host's space.
        Assert.NotEqual(33UL, _machine.DmaRead(RfcMachine.Parent, 0x1000));
        Assert.Same(_machine.Group(RfcMachine.Parent).DefaultDomain, _machine.Group(RfcMachine.Parent).Domain);
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, _iommu, ioasid, vpasid: 5));
        Assert.Equal(0, _machine.Detach(device, _iommu, ioasid));
        Assert.Null(_machine.MdevRead(device, 0x1000));
    }

    [Fact]
    [Trait("rfc", "1.2-mdev")]
    [Trait("rfc", "3.3-5")]
    public void Mediated_devices_of_one_parent_are_different_users()
    {
        int other = _machine.OpenIommu();
        int first = _machine.OpenBoundMdev("default", _iommu, 1), second = _machine.OpenBoundMdev("default", other, 1);
        int here = _machine.Alloc(_iommu), there = _machine.Alloc(other);
        Assert.Equal(0, _machine.Map(_iommu, here, 0x1000, _machine.Memory(Page, 1), Page));
        Assert.Equal(0, _machine.Map(other, there, 0x1000, _machine.Memory(Page, 2), Page));
        Assert.Equal(0, _machine.Attach(first, _iommu, here));
        Assert.Equal(0, _machine.Attach(second, other, there));
        Assert.Equal(1UL, _machine.MdevRead(first, 0x1000));
        Assert.Equal(2UL, _machine.MdevRead(second, 0x1000));
    }

    [Fact]
    [Trait("rfc", "1.2-software-mdev")]
    [Trait("rfc", "1.6-type2")]
    public void For_a_software_mediated_device_no_table_is_installed_and_its_driver_uses_the_mappings()
    {
        int device = _machine.OpenBoundMdev("sw", _iommu, 2), gpa = _machine.Alloc(_iommu), giova = _machine.Alloc(_iommu, gpa);
        ulong memory = _machine.Memory(2 * Page, 22);
        Assert.Null(_machine.PasidCapability(device));
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x1000, memory, Page));
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x2000, memory + Page, Page, flags: 1));
        Assert.Null(_machine.MdevRead(device, 0x1000));
        Assert.Equal(0, _machine.Attach(device, _iommu, gpa));
        Assert.Equal(22UL, _machine.MdevRead(device, 0x1000));
        Assert.True(_machine.MdevWrite(device, 0x1008, 23));
        Assert.Equal(23UL, *(ulong*)(memory + 8));
        Assert.False(_machine.MdevWrite(device, 0x2000, 1));
        Assert.Equal(0UL, _machine.PinnedPages);

        Assert.Equal(0, _machine.Map(_iommu, giova, 0x8000, 0x1000, Page));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(22UL, _machine.MdevRead(device, 0x8000));
        Assert.Null(_machine.MdevRead(device, 0x1000));
        Assert.Equal((long)Page, _machine.Unmap(_iommu, gpa, 0x1000, Page));
        Assert.Null(_machine.MdevRead(device, 0x8000));
    }

    [Fact]
    [Trait("rfc", "1.2-software-mdev")]
    [Trait("rfc", "1.1-hardware-nesting refused")]
    public void A_software_mediated_device_is_refused_a_users_table()
    {
        int device = _machine.OpenBoundMdev("sw", _iommu, 2), gpa = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.GetInfo(_iommu, 2, out _));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, _iommu, _machine.AllocUserTable(_iommu, gpa, 0x1000)));
    }

    [Fact]
    [Trait("rfc", "1.6-type6")]
    [Trait("rfc", "CAP_PASID")]
    public void A_vPASID_of_a_mediated_device_is_translated_to_one_of_its_parents_pool()
    {
        int first = _machine.OpenBoundMdev("pasid", _iommu, 1), second = _machine.OpenBoundMdev("pasid", _iommu, 2);
        Assert.Equal((0u, 20u), _machine.PasidCapability(first));
        int[] ioasids = [_machine.Alloc(_iommu), _machine.Alloc(_iommu)];
        Assert.Equal(0, _machine.Map(_iommu, ioasids[0], 0x1000, _machine.Memory(Page, 1), Page));
        Assert.Equal(0, _machine.Map(_iommu, ioasids[1], 0x1000, _machine.Memory(Page, 2), Page));

        // The same number of both devices is two numbers on the wire, and neither is the user's.
        Assert.Equal(0, _machine.Attach(first, _iommu, ioasids[0], vpasid: 77));
        Assert.Equal(0, _machine.Attach(second, _iommu, ioasids[1], vpasid: 77));
        Assert.Equal(1UL, _machine.MdevRead(first, 0x1000, vpasid: 77));
        Assert.Equal(2UL, _machine.MdevRead(second, 0x1000, vpasid: 77));
        Assert.Null(_machine.DmaRead(RfcMachine.Parent, 0x1000, 77));
        Assert.Null(_machine.MdevRead(first, 0x1000, vpasid: 78));
        Assert.Null(_machine.MdevRead(first, 0x1000));
        Assert.Equal(0, _machine.Detach(first, _iommu, ioasids[0], vpasid: 77));
        Assert.Null(_machine.MdevRead(first, 0x1000, vpasid: 77));
        Assert.Equal(2UL, _machine.MdevRead(second, 0x1000, vpasid: 77));
    }

    [Fact]
    [Trait("rfc", "1.2-mdev")]
    public void A_parent_with_mediated_devices_cannot_be_handed_out_itself()
    {
        _machine.OpenBoundMdev("default", _iommu, 1);
        int ioasid = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.Attach(_machine.OpenBoundMdev("default", _iommu, 2), _iommu, ioasid));
        int parent = _machine.OpenDevice(RfcMachine.Parent);
        Assert.Equal(-Errno.EINVAL, _machine.Bind(parent, _iommu, 3));
    }
}
