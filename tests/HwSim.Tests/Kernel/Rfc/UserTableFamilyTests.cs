using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>User-managed tables as AMD-Vi and a RISC-V IOMMU walk them.</summary>
public sealed unsafe class UserTableFamilyTests : IDisposable
{
    private const ulong Page = RfcMachine.Page, Size = 1 << 20, Directory = 0x10000;
    private RfcMachine? _machine;
    private int _iommu, _device, _gpa;
    private ulong _memory;

    public void Dispose() => _machine?.Dispose();

    [Fact]
    [Trait("rfc", "1.6-type4")]
    [Trait("rfc", "1.1-hardware-nesting")]
    [Trait("rfc", "INVALIDATE")]
    public void AMD_the_users_GCR3_table_holds_all_PASIDs()
    {
        RfcMachine machine = Boot("rfc-amd");
        var five = new GuestTable(_memory, Size);
        five.Map(0x7000, 0x9000);
        Word(Directory + (5 * 8)) = five.Root | 1;
        int table = PasidTable(iommu_ioasid_format.IOMMU_IOASID_FORMAT_AMD_GUEST, 9);
        Assert.Equal(0, machine.Attach(_device, _iommu, table));
        Shows(machine, table, () => five.Map(0x7000, 0xA000), () => Word(Directory + (5 * 8)) = 0);
    }

    [Fact]
    [Trait("rfc", "1.6-type4")]
    [Trait("rfc", "1.1-hardware-nesting")]
    [Trait("rfc", "INVALIDATE")]
    public void RISC_V_the_users_process_directory_holds_all_PASIDs()
    {
        RfcMachine machine = Boot("rfc-riscv");
        SvTable(0x20000, 0x9000);
        Word(Directory + (5 * 16)) = 1 | (77 << 12);
        Word(Directory + (5 * 16) + 8) = (9UL << 60) | (0x20000 >> 12);
        int table = PasidTable(iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_PDT, 8);
        Assert.Equal(0, machine.Attach(_device, _iommu, table));
        Shows(machine, table, () => SvTable(0x20000, 0xA000), () => Word(Directory + (5 * 16)) = 0);
    }

    [Fact]
    [Trait("rfc", "1.1-hardware-nesting")]
    [Trait("rfc", "4.4")]
    public void RISC_V_one_table_of_the_user_is_a_default_space()
    {
        RfcMachine machine = Boot("rfc-riscv");
        SvTable(0x20000, 0x9000);
        int edu = machine.OpenBound(RfcMachine.Edu, _iommu, 1),
            giova = machine.AllocUserTable(_iommu, _gpa, 0x20000, format: iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_S1);
        Assert.Equal(0, machine.Attach(edu, _iommu, giova));
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Edu, 0x7000));
        Assert.Null(machine.DmaRead(RfcMachine.Edu, 0x9000));
        SvTable(0x20000, 0xA000);
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Edu, 0x7000));
        Assert.Equal(0, machine.Invalidate(_iommu, giova, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 0x7000, 1));
        Assert.Equal(0xAAUL, machine.DmaRead(RfcMachine.Edu, 0x7000));
        Assert.Equal((long)Size, machine.Unmap(_iommu, _gpa, 0, Size));
        Assert.Null(machine.DmaRead(RfcMachine.Edu, 0x7000));
        Assert.Equal(
            -Errno.EINVAL, machine.Attach(machine.OpenBound(RfcMachine.Nic, _iommu, 2), _iommu, machine.AllocUserTable(_iommu, _gpa, 0x20000)));
    }

    [Fact]
    [Trait("rfc", "1.1-hardware-nesting")]
    [Trait("rfc", "4.4")]
    public void SMMU_one_table_of_the_user_is_a_default_space_and_its_descriptor_the_kernels()
    {
        const iommu_ioasid_format format = iommu_ioasid_format.IOMMU_IOASID_FORMAT_ARM_LPAE_S1;
        RfcMachine machine = Boot("rfc-smmuv3");
        ArmTable(0x20000, 0x9000);
        ArmTable(0x30000, 0xA000);
        int edu = machine.OpenBound(RfcMachine.Edu, _iommu, 1), nic = machine.OpenBound(RfcMachine.Nic, _iommu, 2);
        int first = machine.AllocUserTable(_iommu, _gpa, 0x20000, format: format),
            second = machine.AllocUserTable(_iommu, _gpa, 0x30000, format: format);
        Assert.Equal(0, machine.Attach(edu, _iommu, first));
        Assert.Equal(0, machine.Attach(_device, _iommu, second));
        Assert.Equal(0, machine.Attach(nic, _iommu, second));
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Edu, 0x7000));
        Assert.Equal(0xAAUL, machine.DmaRead(RfcMachine.Accelerator, 0x7000));
        Assert.Null(machine.DmaRead(RfcMachine.Edu, 0x9000));
        ArmTable(0x20000, 0xA000);
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Edu, 0x7000));
        Assert.Equal(0, machine.Invalidate(_iommu, second, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 0x7000, 1));
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Edu, 0x7000));
        Assert.Equal(0, machine.Invalidate(_iommu, first, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 0x7000, 1));
        Assert.Equal(0xAAUL, machine.DmaRead(RfcMachine.Edu, 0x7000));

        // The user's table may lead to the descriptor, but not to writing it; the window is the kernel's.
        ArmTable(0x20000, 0x808_0000);
        Assert.Equal(0, machine.Invalidate(_iommu, first, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 0x7000, 1));
        Assert.False(machine.DmaWrite(RfcMachine.Edu, 0x7000, 0));
        Assert.Equal(-Errno.EINVAL, machine.Map(_iommu, _gpa, 0x808_0000, machine.Memory(Page), Page));
        Assert.Equal(0, machine.Detach(edu, _iommu, first));
        Assert.Equal((long)Size, machine.Unmap(_iommu, _gpa, 0, Size));
        Assert.Null(machine.DmaRead(RfcMachine.Accelerator, 0x7000));
        Assert.Equal(-Errno.EINVAL, machine.Attach(edu, _iommu, machine.AllocUserTable(_iommu, _gpa, 0x20000, format: format, width: 20)));
    }

    [Fact]
    [Trait("rfc", "1.1-hardware-nesting")]
    [Trait("rfc", "4.4")]
    public void AMD_one_table_of_the_user_is_a_default_space_and_its_GCR3_table_the_kernels()
    {
        const iommu_ioasid_format format = iommu_ioasid_format.IOMMU_IOASID_FORMAT_AMD_V2;
        RfcMachine machine = Boot("rfc-amd");
        var one = new GuestTable(_memory, Size);
        one.Map(0x7000, 0x9000);
        ulong root = one.Root;
        int edu = machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        int first = machine.AllocUserTable(_iommu, _gpa, root, format: format),
            second = machine.AllocUserTable(_iommu, _gpa, 0x60000, format: format);
        Assert.Equal(0, machine.Attach(edu, _iommu, first));
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Edu, 0x7000));
        Assert.Null(machine.DmaRead(RfcMachine.Edu, 0x9000));

        // Another empty table on the same parent: its PASID 0 is not that of the first.
        Assert.Equal(0, machine.Attach(_device, _iommu, second));
        Assert.Null(machine.DmaRead(RfcMachine.Accelerator, 0x7000));
        one.Map(0x7000, 0xA000);
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Edu, 0x7000));
        Assert.Equal(0, machine.Invalidate(_iommu, first, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 0x7000, 1));
        Assert.Equal(0xAAUL, machine.DmaRead(RfcMachine.Edu, 0x7000));

        // The user's table may lead to the GCR3 table, but not to writing it.
        one.Map(0x7000, 0xfee0_0000);
        Assert.Equal(0, machine.Invalidate(_iommu, first, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 0x7000, 1));
        Assert.False(machine.DmaWrite(RfcMachine.Edu, 0x7000, 0));
        one.Map(0x7000, 0xA000);
        Assert.Equal(0, machine.Invalidate(_iommu, first, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 0x7000, 1));
        Assert.Equal(0xAAUL, machine.DmaRead(RfcMachine.Edu, 0x7000));
        Assert.Equal((long)Size, machine.Unmap(_iommu, _gpa, 0, Size));
        Assert.Null(machine.DmaRead(RfcMachine.Edu, 0x7000));
    }

    [Theory]
    [InlineData("rfc-amd", true)]
    [InlineData("rfc-riscv", false)]
    [Trait("rfc", "GET_INFO")]
    [Trait("rfc", "1.1-software-nesting")]
    public void Every_family_has_software_nesting_and_says_whether_it_enforces_snooping(string topology, bool enforces)
    {
        RfcMachine machine = Boot(topology);
        Assert.Equal(0, machine.GetInfo(_iommu, 4, out iommu_device_info info));
        Assert.Equal(enforces, (info.flags & IOMMU_DEVICE_INFO_ENFORCE_SNOOP) != 0);
        Assert.Equal((PASID_DELEGATED, 20u), machine.PasidCapability(_device));
        int edu = machine.OpenBound(RfcMachine.Edu, _iommu, 1), giova = machine.Alloc(_iommu, _gpa, width: 40);
        Assert.Equal(0, machine.Map(_iommu, giova, 0x2000, 0x9000, Page));
        Assert.Equal(0, machine.Attach(edu, _iommu, giova));
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Edu, 0x2000));
        Assert.Equal((long)Size, machine.Unmap(_iommu, _gpa, 0, Size));
        Assert.Null(machine.DmaRead(RfcMachine.Edu, 0x2000));
    }

    [Theory]
    [InlineData("rfc-amd", iommu_ioasid_format.IOMMU_IOASID_FORMAT_AMD_GUEST, 9, iommu_fault_reason.IOMMU_FAULT_REASON_PTE_FETCH)]
    [InlineData("rfc-riscv", iommu_ioasid_format.IOMMU_IOASID_FORMAT_RISCV_PDT, 8, iommu_fault_reason.IOMMU_FAULT_REASON_PASID_INVALID)]
    [Trait("rfc", "FAULT_REGION")]
    public void A_PASID_that_the_users_table_does_not_have_is_reported(
        string topology, iommu_ioasid_format format, uint bits, iommu_fault_reason reason)
    {
        RfcMachine machine = Boot(topology);
        int table = PasidTable(format, bits, IOMMU_IOASID_FAULT);
        Assert.Equal(0, machine.Attach(_device, _iommu, table));
        iommu_ioasid_fault_region region = new() { argsz = (uint)sizeof(iommu_ioasid_fault_region), ioasid = table, eventfd = -1, nr_records = 4 };
        Assert.Equal(0, machine.Ioctl(_iommu, IOMMU_IOASID_FAULT_REGION, ref region));
        Assert.False(machine.DmaWrite(RfcMachine.Accelerator, 0x8000, 1, 6));
        iommu_ioasid_fault fault;
        Assert.Equal(sizeof(iommu_ioasid_fault), machine.Kernel.Read(region.out_fd, (nint)(&fault), (nuint)sizeof(iommu_ioasid_fault)));
        Assert.Equal((table, 4UL, 0x8000UL, 6u), (fault.ioasid, fault.cookie, fault.addr, fault.vpasid));
        Assert.Equal((IOMMU_IOASID_FAULT_UNRECOVERABLE | IOMMU_IOASID_FAULT_PASID_VALID, IOMMU_FAULT_PERM_WRITE, (uint)reason),
            (fault.flags, fault.perm, fault.reason));
    }

    private RfcMachine Boot(string topology)
    {
        RfcMachine machine = _machine = new RfcMachine(topology);
        _iommu = machine.OpenIommu();
        _device = machine.OpenBound(RfcMachine.Accelerator, _iommu, 4);
        _gpa = machine.Alloc(_iommu, width: 40);
        _memory = machine.Memory(Size);
        Assert.Equal(0, machine.Map(_iommu, _gpa, 0, _memory, Size));
        Assert.Equal(0, machine.Attach(_device, _iommu, _gpa));
        Word(0x9000) = 0x99;
        Word(0xA000) = 0xAA;
        return machine;
    }

    // PASID 5 leads to a page, then to another one, then nowhere; the default space is the root's throughout, and the root's unmap is seen.
    private void Shows(RfcMachine machine, int table, Action change, Action remove)
    {
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));
        Assert.Null(machine.DmaRead(RfcMachine.Accelerator, 0x7000, 6));
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Accelerator, 0x9000));
        change();
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));
        Assert.Equal(0, Invalidate(table, IOMMU_CACHE_INV_TYPE_IOTLB));
        Assert.Equal(0xAAUL, machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));
        Assert.Equal(0, machine.Map(_iommu, _gpa, 0x80_0000_0000, machine.Memory(Page, 0x22), Page));
        Assert.Equal(0x22UL, machine.DmaRead(RfcMachine.Accelerator, 0x80_0000_0000));
        remove();
        Assert.Equal(0, Invalidate(table, IOMMU_CACHE_INV_TYPE_IOTLB | IOMMU_CACHE_INV_TYPE_PASID));
        Assert.Null(machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));
        Assert.Equal(0, machine.Detach(_device, _iommu, table));
        Assert.Equal(0x99UL, machine.DmaRead(RfcMachine.Accelerator, 0x9000));
    }

    private int PasidTable(iommu_ioasid_format format, uint bits, uint flags = 0) =>
        RfcMachine.Succeeds(_machine!.Alloc(_iommu, new iommu_ioasid_alloc_attr
    {
        flags = flags,
        type = IOMMU_IOASID_TYPE_USER,
        addr_width = 64 + bits,
        parent = _gpa,
        format = (uint)format,
        addr = Directory,
        user_pasid_table = 1,
    }));

    private int Invalidate(int ioasid, uint cache)
    {
        iommu_ioasid_invalidate request = new()
        {
            argsz = (uint)sizeof(iommu_ioasid_invalidate),
            flags = IOMMU_IOASID_INVALIDATE_VPASID,
            ioasid = ioasid,
            cache = cache,
            granularity = (uint)iommu_inv_granularity.IOMMU_INV_GRANU_PASID,
            vpasid = 5,
        };
        return _machine!.Ioctl(_iommu, IOMMU_INVALIDATE_CACHE, ref request);
    }

    // An Sv48 table of four levels whose last maps 0x7000: valid, readable, writable, user, accessed, dirty.
    private void SvTable(ulong table, ulong page)
    {
        for (ulong level = 0; level < 3; level++)
        {
            Word(table + (level * Page)) = ((table + ((level + 1) * Page)) >> 2) | 1;
        }

        Word(table + (3 * Page) + (7 * 8)) = (page >> 2) | 0xd7;
    }

    // Four levels of 4 KiB whose last maps 0x7000: a page, accessed, inner shareable, user, writable, write-back.
    private void ArmTable(ulong table, ulong page)
    {
        for (ulong level = 0; level < 3; level++)
        {
            Word(table + (level * Page)) = (table + ((level + 1) * Page)) | 3;
        }

        Word(table + (3 * Page) + (7 * 8)) = page | 0x747;
    }

    private ref ulong Word(ulong address) => ref *(ulong*)(_memory + address);
}
