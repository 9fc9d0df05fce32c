using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>PASID type 4, on an SMMUv3: the table of PASIDs is the user's, one IOASID stands for all of its spaces.</summary>
public sealed unsafe class DelegatedTests : IDisposable
{
    private const ulong Page = RfcMachine.Page, Size = 2 << 20;
    private readonly RfcMachine _machine = new("rfc-smmuv3");
    private readonly int _iommu, _device, _gpa;
    private readonly ulong _memory;

    public DelegatedTests()
    {
        _iommu = _machine.OpenIommu();
        _device = _machine.OpenBound(RfcMachine.Accelerator, _iommu, 4);
        _gpa = _machine.Alloc(_iommu);
        _memory = _machine.Memory(Size);
        Assert.Equal(0, _machine.Map(_iommu, _gpa, 0, _memory, Size));
        Assert.Equal(0, _machine.Attach(_device, _iommu, _gpa));

        // Descriptors from 0x10000 on; PASIDs 5 and 6 each have a table that maps 0x7000.
        Space(5, 0x20000, 0x9000);
        Space(6, 0x30000, 0xA000);
        Guest(0x9000) = 0x55;
        Guest(0xA000) = 0x66;
        Guest(0xB000) = 0xbb;
    }

    public void Dispose() => _machine.Dispose();

    [Fact]
    [Trait("rfc", "1.6-type4")]
    [Trait("rfc", "CAP_PASID")]
    [Trait("rfc", "3.5-1")]
    public void The_capability_says_that_the_PASID_table_is_the_users_and_which_format_it_has()
    {
        Assert.Equal((PASID_DELEGATED, 20u), _machine.PasidCapability(_device));
        var capabilities = _machine.Capabilities(_iommu, 4);
        byte[] formats = capabilities.Find(static c => c.Id == IOMMU_DEVICE_INFO_CAP_USER_PASID_TABLE).Payload;
        Assert.Equal((1, (int)iommu_ioasid_format.IOMMU_IOASID_FORMAT_ARM_SMMUV3, 84),
            (BitConverter.ToInt32(formats), BitConverter.ToInt32(formats, 8), BitConverter.ToInt32(formats, 12)));
        formats = capabilities.Find(static c => c.Id == IOMMU_DEVICE_INFO_CAP_USER_PGTABLE).Payload;
        Assert.Equal((1, (int)iommu_ioasid_format.IOMMU_IOASID_FORMAT_ARM_LPAE_S1, 48),
            (BitConverter.ToInt32(formats), BitConverter.ToInt32(formats, 8), BitConverter.ToInt32(formats, 12)));
        Assert.Null(_machine.PasidCapability(_machine.OpenBound(RfcMachine.Edu, _iommu, 1)));
    }

    [Fact]
    [Trait("rfc", "1.6-type4")]
    [Trait("rfc", "4.5")]
    [Trait("rfc", "3.5-1")]
    [Trait("rfc", "ALLOC")]
    public void One_ioasid_stands_for_all_PASIDs_of_the_users_table()
    {
        int table = RfcMachine.Succeeds(Table());
        Assert.Equal(0, _machine.Attach(_device, _iommu, table));
        Assert.Equal(0x55UL, _machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));
        Assert.Equal(0x66UL, _machine.DmaRead(RfcMachine.Accelerator, 0x7000, 6));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, 0x7000, 7));

        // The default space is the root's as before.
        Assert.Equal(0x55UL, _machine.DmaRead(RfcMachine.Accelerator, 0x9000));
        Assert.Equal(0, _machine.Detach(_device, _iommu, table));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));
        Assert.Equal(0x55UL, _machine.DmaRead(RfcMachine.Accelerator, 0x9000));
    }

    [Fact]
    [Trait("rfc", "3.3-10")]
    public void Delegated_one_table_serves_one_device_and_no_vPASID_is_registered()
    {
        int table = Table(), second = Table(), other = _machine.OpenBound(RfcMachine.Enqcmd, _iommu, 2);
        Assert.Equal(-Errno.EINVAL, _machine.Attach(_device, _iommu, table, vpasid: 5));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(_device, _iommu, _gpa, vpasid: 5));
        Assert.Equal(0, _machine.Attach(_device, _iommu, table));
        Assert.Equal(-Errno.EBUSY, _machine.Attach(_device, _iommu, second));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(other, _iommu, table));
        Assert.Equal(0, _machine.Attach(other, _iommu, second));
    }

    [Fact]
    [Trait("rfc", "3.3-8")]
    public void A_format_of_another_family_is_refused_at_attach()
    {
        int edu = _machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        Assert.Equal(-Errno.EINVAL, _machine.Attach(edu, _iommu, _machine.AllocUserTable(_iommu, _gpa, 0x10000)));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(edu, _iommu, Table()));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(_device, _iommu, Table(iommu_ioasid_format.IOMMU_IOASID_FORMAT_AMD_GUEST)));
    }

    [Fact]
    [Trait("rfc", "INVALIDATE")]
    public void Invalidations_of_a_PASID_table_name_the_vPASID()
    {
        int table = Table();
        Assert.Equal(0, _machine.Attach(_device, _iommu, table));
        Assert.Equal(0x55UL, _machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));
        Guest(0x20000 + (3 * Page) + (7 * 8)) = 0xB000 | 0x743;
        Assert.Equal(0x55UL, _machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));
        Assert.Equal(-Errno.EINVAL, Invalidate(table, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, null));
        Assert.Equal(0, Invalidate(table, iommu_inv_granularity.IOMMU_INV_GRANU_ADDR, IOMMU_CACHE_INV_TYPE_IOTLB, 5));
        Assert.Equal(0xbbUL, _machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));

        // The descriptor goes: the PASID cache.
        Guest(0x10000 + (5 * 64)) = 0;
        Assert.Equal(0xbbUL, _machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));
        Assert.Equal(0, Invalidate(table, iommu_inv_granularity.IOMMU_INV_GRANU_PASID, IOMMU_CACHE_INV_TYPE_PASID | IOMMU_CACHE_INV_TYPE_IOTLB, 5));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, 0x7000, 5));
        Assert.Equal(0x66UL, _machine.DmaRead(RfcMachine.Accelerator, 0x7000, 6));
    }

    [Fact]
    [Trait("rfc", "FAULT_REGION")]
    [Trait("rfc", "4.6")]
    public void A_fault_below_a_PASID_table_carries_the_vPASID()
    {
        int table = Table(flags: IOMMU_IOASID_FAULT);
        Assert.Equal(0, _machine.Attach(_device, _iommu, table));
        iommu_ioasid_fault_region region = new() { argsz = (uint)sizeof(iommu_ioasid_fault_region), ioasid = table, eventfd = -1, nr_records = 4 };
        Assert.Equal(0, _machine.Ioctl(_iommu, IOMMU_IOASID_FAULT_REGION, ref region));
        Assert.Null(_machine.DmaRead(RfcMachine.Accelerator, 0x8000, 6));
        iommu_ioasid_fault fault;
        Assert.Equal(sizeof(iommu_ioasid_fault), _machine.Kernel.Read(region.out_fd, (nint)(&fault), (nuint)sizeof(iommu_ioasid_fault)));
        Assert.Equal((table, 4UL, 0x8000UL, 6u), (fault.ioasid, fault.cookie, fault.addr, fault.vpasid));
        Assert.Equal((uint)iommu_fault_reason.IOMMU_FAULT_REASON_PTE_FETCH, fault.reason);
    }

    [Fact]
    [Trait("rfc", "1.1-software-nesting")]
    public void Software_nesting_works_where_the_table_is_an_SMMUs_too()
    {
        int edu = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), giova = _machine.Alloc(_iommu, _gpa);
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x2000, 0x9000, Page));
        Assert.Equal(0, _machine.Attach(edu, _iommu, giova));
        Assert.Equal(0x55UL, _machine.DmaRead(RfcMachine.Edu, 0x2000));
        Assert.Equal((long)Size, _machine.Unmap(_iommu, _gpa, 0, Size));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x2000));
    }

    private int Table(iommu_ioasid_format format = iommu_ioasid_format.IOMMU_IOASID_FORMAT_ARM_SMMUV3, uint flags = 0) =>
        _machine.Alloc(_iommu, new iommu_ioasid_alloc_attr
    {
        flags = flags,
        type = IOMMU_IOASID_TYPE_USER,
        addr_width = 64 + 4,
        parent = _gpa,
        format = (uint)format,
        addr = 0x10000,
        user_pasid_table = 1,
    });

    private int Invalidate(int ioasid, iommu_inv_granularity granularity, uint cache, uint? vpasid)
    {
        iommu_ioasid_invalidate request = new()
        {
            argsz = (uint)sizeof(iommu_ioasid_invalidate),
            flags = vpasid is null ? 0 : IOMMU_IOASID_INVALIDATE_VPASID,
            ioasid = ioasid,
            cache = cache,
            granularity = (uint)granularity,
            vpasid = vpasid ?? 0,
            addr = 0x7000,
            granule_size = Page,
            nb_granules = 1,
        };
        return _machine.Ioctl(_iommu, IOMMU_INVALIDATE_CACHE, ref request);
    }

    // A context descriptor (48 bits, 4 KiB granules) and the four levels of its table, whose last maps 0x7000.
    private void Space(ulong pasid, ulong table, ulong page)
    {
        Guest(0x10000 + (pasid * 64)) = 16UL | (1 << 8) | (1 << 10) | (3 << 12) | (1UL << 30) | (1UL << 31) | (5UL << 32) | (1UL << 41) | (7UL << 45)
            | (pasid << 48);
        Guest(0x10000 + (pasid * 64) + 8) = table;
        for (ulong level = 0; level < 3; level++)
        {
            Guest(table + (level * Page)) = (table + ((level + 1) * Page)) | 3;
        }

        Guest(table + (3 * Page) + (7 * 8)) = page | 0x743;
    }

    private ref ulong Guest(ulong address) => ref *(ulong*)(_memory + address);
}
