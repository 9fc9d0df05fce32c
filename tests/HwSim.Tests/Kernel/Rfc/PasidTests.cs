using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Physical devices with PASIDs (types 1, 5 and 7): the user's number is the number on the wire.</summary>
public sealed unsafe class PasidTests : RfcTest
{
    private const ulong Size = 1 << 20;

    [Fact]
    [Trait("rfc", "CAP_PASID")]
    [Trait("rfc", "1.6-type1")]
    [Trait("rfc", "1.6-type5")]
    [Trait("rfc", "1.6-type7")]
    public void The_PASID_capability_says_how_a_device_has_PASIDs()
    {
        Assert.Null(_machine.PasidCapability(_machine.OpenBound(RfcMachine.Edu, _iommu, 1)));
        Assert.Equal((0u, 20u), _machine.PasidCapability(_machine.OpenBound(RfcMachine.Accelerator, _iommu, 5)));
        Assert.Equal((PASID_CPU, 20u), _machine.PasidCapability(_machine.OpenBound(RfcMachine.Enqcmd, _iommu, 7)));
    }

    [Fact]
    [Trait("rfc", "1.6-type1")]
    public void A_device_without_PASIDs_has_its_default_space_only()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), ioasid = _machine.Alloc(_iommu);
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, _iommu, ioasid, vpasid: 3));
        Assert.Equal(0, _machine.Attach(device, _iommu, ioasid));
    }

    [Fact]
    [Trait("rfc", "1.2-rid-pasid")]
    [Trait("rfc", "1.6-type5")]
    [Trait("rfc", "ATTACH")]
    [Trait("rfc", "DETACH")]
    public void Each_vPASID_has_a_space_of_its_own_and_is_the_PASID_on_the_wire()
    {
        int device = _machine.OpenBound(RfcMachine.Accelerator, _iommu, 5);
        int gpa = _machine.Alloc(_iommu), first = _machine.Alloc(_iommu), second = _machine.Alloc(_iommu);
        (int Ioasid, ulong Word)[] spaces = [(gpa, 10), (first, 11), (second, 12)];
        foreach ((int ioasid, ulong word) in spaces)
        {
            Assert.Equal(0, _machine.Map(_iommu, ioasid, 0x1000, _machine.Memory(Page, word), Page));
        }

        Assert.Equal(0, _machine.Attach(device, _iommu, gpa));
        Assert.Equal(0, _machine.Attach(device, _iommu, first, vpasid: 101));
        Assert.Equal(0, _machine.Attach(device, _iommu, second, vpasid: 102));
        Assert.Equal(10UL, _machine.DmaRead(RfcMachine.Accelerator, 0x1000));
        Assert.Equal(11UL, _machine.DmaRead(RfcMachine.Accelerator, 0x1000, 101));
        Assert.Equal(12UL, _machine.DmaRead(RfcMachine.Accelerator, 0x1000, 102));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, 0x1000, 103));

        Assert.Equal(-Errno.EINVAL, _machine.Detach(device, _iommu, first, vpasid: 102));
        Assert.Equal(0, _machine.Detach(device, _iommu, first, vpasid: 101));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, 0x1000, 101));
        Assert.Equal(12UL, _machine.DmaRead(RfcMachine.Accelerator, 0x1000, 102));
        Assert.Equal(0, _machine.Kernel.Close(device));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, 0x1000, 102));
    }

    [Fact]
    [Trait("rfc", "3.3-10")]
    public void Not_delegated_a_vPASID_has_one_ioasid_and_is_in_range()
    {
        int device = _machine.OpenBound(RfcMachine.Accelerator, _iommu, 5), one = _machine.Alloc(_iommu), other = _machine.Alloc(_iommu);
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, _iommu, one, vpasid: 0));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(device, _iommu, one, vpasid: 1 << 20));
        Assert.Equal(0, _machine.Attach(device, _iommu, one, vpasid: (1 << 20) - 1));
        Assert.Equal(-Errno.EBUSY, _machine.Attach(device, _iommu, other, vpasid: (1 << 20) - 1));
        Assert.Equal(0, _machine.Attach(device, _iommu, one, vpasid: 1));
    }

    [Fact]
    [Trait("rfc", "3.3-11")]
    public void A_second_attachment_of_one_RID_or_RID_and_PASID_is_EBUSY()
    {
        int other = _machine.OpenIommu(), device = _machine.OpenBound(RfcMachine.Accelerator, _iommu, 5);
        Assert.Equal(0, _machine.Bind(device, other, 6));
        int here = _machine.Alloc(_iommu), there = _machine.Alloc(other);
        Assert.Equal(0, _machine.Attach(device, _iommu, here));
        Assert.Equal(-Errno.EBUSY, _machine.Attach(device, other, there));
        Assert.Equal(0, _machine.Attach(device, other, there, vpasid: 9));
        Assert.Equal(-Errno.EBUSY, _machine.Attach(device, _iommu, here, vpasid: 9));
        Assert.Equal(0, _machine.Attach(device, _iommu, here, vpasid: 10));
    }

    [Fact]
    [Trait("rfc", "4.5")]
    [Trait("rfc", "1.1-hardware-nesting")]
    public void A_guests_process_table_is_attached_to_its_vPASID()
    {
        int device = _machine.OpenBound(RfcMachine.Accelerator, _iommu, 5), gpa = _machine.Alloc(_iommu);
        ulong memory = _machine.Memory(Size);
        var table = new GuestTable(memory, Size);
        Assert.Equal(0, _machine.Attach(device, _iommu, gpa));
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0, memory, Size));
        int gva = RfcMachine.Succeeds(_machine.AllocUserTable(_iommu, gpa, table.Root));
        Assert.Equal(0, _machine.Attach(device, _iommu, gva, vpasid: 42));
        *(ulong*)(memory + 0x5000) = 0x55;
        table.Map(0x7f00_0000_1000, 0x5000);
        Assert.Equal(0x55UL, _machine.DmaRead(RfcMachine.Accelerator, 0x7f00_0000_1000, 42));
        Assert.Equal(0x55UL, _machine.DmaRead(RfcMachine.Accelerator, 0x5000));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, 0x7f00_0000_1000, 43));
        table.Map(0x7f00_0000_1000, null);
        Assert.Equal(
            0, _machine.Invalidate(_iommu, gva, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 0x7f00_0000_1000, 1));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, 0x7f00_0000_1000, 42));
    }
}
