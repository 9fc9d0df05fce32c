using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Section 3.4 of our notes: what the proposal left undefined, as this project chose.</summary>
public sealed class Rule_3_4_ChoiceTests : RfcTest
{
    [Fact]
    [Trait("rfc", "3.4-reattach")]
    public void Attaching_what_is_attached_is_EINVAL_and_an_unrelated_ioasid_EBUSY()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), first = _machine.Alloc(_iommu), other = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.Attach(device, _iommu, first));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, _iommu, first));
        Assert.Equal(-Errno.EBUSY, _machine.Attach(device, _iommu, other));
        Assert.Equal(-Errno.EINVAL, _machine.Detach(device, _iommu, other));
    }

    [Fact]
    [Trait("rfc", "3.4-detach-parent")]
    public void Detaching_a_parent_while_its_child_is_attached_is_EBUSY()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), gpa = _machine.Alloc(_iommu), giova = _machine.Alloc(_iommu, gpa);
        Assert.Equal(0, _machine.Attach(device, _iommu, gpa));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(-Errno.EBUSY, _machine.Detach(device, _iommu, gpa));
        Assert.Equal(0, _machine.Detach(device, _iommu, giova));
        Assert.Equal(0, _machine.Detach(device, _iommu, gpa));
    }

    [Fact]
    [Trait("rfc", "3.4-free")]
    public void Freeing_what_is_attached_or_has_children_is_EBUSY()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), gpa = _machine.Alloc(_iommu), giova = _machine.Alloc(_iommu, gpa);
        Assert.Equal(-Errno.EBUSY, _machine.Free(_iommu, gpa));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(-Errno.EBUSY, _machine.Free(_iommu, giova));
        Assert.Equal(0, _machine.Detach(device, _iommu, giova));
        Assert.Equal(0, _machine.Free(_iommu, giova));
        Assert.Equal(0, _machine.Free(_iommu, gpa));
    }

    [Fact]
    [Trait("rfc", "3.4-close-iommu")]
    public void Closing_the_iommu_file_leaves_bound_devices_as_they_are()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), ioasid = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.Map(_iommu, ioasid, 0x1000, _machine.Memory(RfcMachine.Page, 5), RfcMachine.Page));
        Assert.Equal(0, _machine.Attach(device, _iommu, ioasid));
        Assert.Equal(0, _machine.Kernel.Close(_iommu));
        Assert.Equal(5UL, _machine.DmaRead(RfcMachine.Edu, 0x1000));
        Assert.Equal(0, _machine.Kernel.Close(device));
        Assert.NotEqual(5UL, _machine.DmaRead(RfcMachine.Edu, 0x1000));
        Assert.Equal(0UL, _machine.PinnedPages);
    }

    [Fact]
    [Trait("rfc", "3.4-cookie")]
    public void A_cookie_is_unique_in_its_file()
    {
        _machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        int device = _machine.OpenDevice(RfcMachine.Nic);
        Assert.Equal(-Errno.EBUSY, _machine.Bind(device, _iommu, 1));
        Assert.Equal(0, _machine.Bind(device, _machine.OpenIommu(), 1));
    }

    [Fact]
    [Trait("rfc", "3.4-depth")]
    public void Eight_levels_below_a_root_and_no_more()
    {
        int ioasid = _machine.Alloc(_iommu);
        for (int level = 1; level <= 8; level++)
        {
            ioasid = RfcMachine.Succeeds(_machine.Alloc(_iommu, ioasid));
        }

        Assert.Equal(-Errno.EINVAL, _machine.Alloc(_iommu, ioasid));
    }

    [Fact]
    [Trait("rfc", "3.4-errno")]
    public void Unknown_names_are_EINVAL_a_bad_pointer_EFAULT_an_unknown_command_ENOTTY()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, _iommu, 77));
        Assert.Equal(-Errno.EINVAL, _machine.Free(_iommu, 77));
        Assert.Equal(-Errno.EINVAL, _machine.Free(_iommu, -1));
        Assert.Equal(-Errno.EINVAL, _machine.GetInfo(_iommu, 77, out _));
        Assert.Equal(-Errno.EINVAL, _machine.Alloc(_iommu, parent: 77));
        Assert.Equal(-Errno.EINVAL, _machine.Alloc(_iommu, flags: 1u << 31));
        Assert.Equal(-Errno.EINVAL, _machine.Alloc(_iommu, width: 0));
        Assert.Equal(-Errno.EINVAL, _machine.Map(_iommu, 77, 0, _machine.Memory(RfcMachine.Page), RfcMachine.Page));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, device, 0));
        Assert.Equal(-Errno.EFAULT, _machine.Kernel.Ioctl(_iommu, IOMMU_IOASID_ALLOC, 0));
        Assert.Equal(-Errno.ENOTTY, _machine.Kernel.Ioctl(_iommu, IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_ALLOC, 0));
        Assert.Equal(-Errno.ENOTTY, _machine.Kernel.Ioctl(_iommu, 0x3b7f, 0));
    }
}
