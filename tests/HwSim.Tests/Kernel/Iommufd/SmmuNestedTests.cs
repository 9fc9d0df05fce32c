using IommuFd.HwSim.Kernel;
using IommuFd.HwSim.Units;
using IommuFd.Native.Uapi;
using Xunit;

namespace HwSim.Tests.Kernel.Iommufd;

/// <summary>A guest with an SMMU of its own: its tables in its memory, its commands forwarded, its faults told to it.</summary>
public sealed unsafe class SmmuNestedTests : IDisposable
{
    private const ushort Stream = 0x20;
    private const uint VirtualStream = 0x42;
    private readonly TestMachine _machine = new();
    private readonly SmmuV3Unit _unit;
    private readonly IommufdDevice _device;
    private readonly nint _guest;
    private readonly uint _parent;
    private readonly uint _viommu;

    public SmmuNestedTests()
    {
        _unit = new SmmuV3Unit(_machine.Memory) { ChecksStaleness = true };
        var ops = new SmmuOps();
        ops.Probe(_unit);
        var device = new IommuDevice("0000:00:04.0", ops, _unit) { RequesterId = Stream, ReservedRegions = [SmmuOps.MsiRegion] };
        Assert.Equal(0, new IommuGroup(1).AddDevice(device));
        Assert.Equal(0, _machine.Context.Bind(device, out var bound));
        _device = bound!;

        // The guest's memory: 2 MiB at guest address 0.
        var ioas = _machine.IoasAlloc();
        _guest = _machine.Mmap(2 << 20);
        Assert.Equal(0, _machine.Map(ioas, (ulong)_guest, 2 << 20, 0));
        var hwpt = new iommu_hwpt_alloc
        {
            dev_id = _device.Id, pt_id = ioas, flags = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT,
        };
        Assert.Equal(0, _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_ALLOC, ref hwpt));
        _parent = hwpt.out_hwpt_id;
        var viommu = new iommu_viommu_alloc { type = (uint)iommu_viommu_type.IOMMU_VIOMMU_TYPE_ARM_SMMUV3, dev_id = _device.Id, hwpt_id = _parent };
        Assert.Equal(0, _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_VIOMMU_ALLOC, ref viommu));
        _viommu = viommu.out_viommu_id;

        // Context descriptor at 0x1000, tables at 0x2000 to 0x5000: 0x7000 to guest address 0x9000.
        Guest(0x1000) = 16UL | (1 << 8) | (1 << 10) | (3 << 12) | (1UL << 30) | (1UL << 31) | (5UL << 32) | (1UL << 41) | (7UL << 45) | (3UL << 48);
        Guest(0x1008) = 0x2000;
        Guest(0x2000) = 0x3003;
        Guest(0x3000) = 0x4003;
        Guest(0x4000) = 0x5003;
        Guest(0x5000 + (7 * 8)) = 0x9000 | 0x743;
        Guest(0x9000) = 0x1122334455667788;
        Guest(0xA000) = 0x99;
    }

    public void Dispose() => _machine.Dispose();

    private ref ulong Guest(ulong address) => ref *(ulong*)(_guest + (nint)address);

    private int AllocNested(ulong word0, ulong word1, out uint id)
    {
        var entry = default(iommu_hwpt_arm_smmuv3);
        entry.ste[0] = word0;
        entry.ste[1] = word1;
        var hwpt = new iommu_hwpt_alloc
        {
            dev_id = _device.Id, pt_id = _viommu, data_type = (uint)iommu_hwpt_data_type.IOMMU_HWPT_DATA_ARM_SMMUV3,
            data_len = (uint)sizeof(iommu_hwpt_arm_smmuv3), data_uptr = (ulong)&entry,
        };
        var rc = _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_ALLOC, ref hwpt);
        id = hwpt.out_hwpt_id;
        return rc;
    }

    private void AddVirtualDevice()
    {
        var vdevice = new iommu_vdevice_alloc { viommu_id = _viommu, dev_id = _device.Id, virt_id = VirtualStream };
        Assert.Equal(0, _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_VDEVICE_ALLOC, ref vdevice));
    }

    private void Attach(ulong word0 = 1 | (5 << 1) | 0x1000, ulong word1 = 0xd4)
    {
        Assert.Equal(0, AllocNested(word0, word1, out var id));
        Assert.Equal(0, _device.Attach(0, ref id));
    }

    private int Invalidate(out uint handled, params (ulong Low, ulong High)[] commands)
    {
        fixed ((ulong, ulong)* p = commands)
        {
            var cmd = new iommu_hwpt_invalidate
            {
                hwpt_id = _viommu, data_type = (uint)iommu_hwpt_invalidate_data_type.IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
                entry_len = 16, entry_num = (uint)commands.Length, data_uptr = (ulong)p,
            };
            var rc = _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_HWPT_INVALIDATE, ref cmd);
            handled = cmd.entry_num;
            return rc;
        }
    }

    private ulong? Read(ulong iova)
    {
        ulong value;
        return _unit.Read(Stream, DmaRequest.NoPasid, iova, &value, 8) == DmaStatus.Success ? value : null;
    }

    [Fact]
    public void DMA_goes_through_the_guest_s_table_and_the_host_s()
    {
        AddVirtualDevice();
        Attach();
        Assert.Equal(0x1122334455667788UL, Read(0x7000));
        Assert.Null(Read(0x8000));
    }

    [Fact]
    public void An_entry_that_translates_needs_a_virtual_device_to_attach()
    {
        Assert.Equal(0, AllocNested(1 | (5 << 1) | 0x1000, 0xd4, out var id));
        Assert.Equal(-2, _device.Attach(0, ref id));
    }

    [Fact]
    public void Bypass_is_the_guest_s_memory_and_abort_is_nothing()
    {
        Attach(1 | (4 << 1), 0);
        Assert.Equal(0x1122334455667788UL, Read(0x9000));
        Assert.Null(Read(0x200000));
        _device.Detach(0);
        Attach(1, 0);
        Assert.Null(Read(0x9000));
    }

    [Theory]
    [InlineData(1UL | (6 << 1), 0UL)]          // stage 2 is the host's
    [InlineData(1UL | (7 << 1), 0UL)]
    [InlineData(1UL | (5 << 1), 1UL << 44)]    // SHCFG
    [InlineData(1UL | (5 << 1), 2UL << 28)]    // split-stage ATS
    [InlineData(1UL | (5 << 1) | (1UL << 53), 0UL)]
    public void An_entry_that_a_guest_may_not_have_is_EIO(ulong word0, ulong word1) => Assert.Equal(-5, AllocNested(word0, word1, out _));

    [Fact]
    public void The_guest_s_invalidations_reach_the_hardware_under_its_own_VMID()
    {
        AddVirtualDevice();
        Attach();
        Assert.NotNull(Read(0x7000));
        Guest(0x5000 + (7 * 8)) = 0xA000 | 0x743;
        _unit.ChecksStaleness = false;
        Assert.Equal(0x1122334455667788UL, Read(0x7000));
        // By address and ASID; the VMID that the guest writes does not matter.
        Assert.Equal(0, Invalidate(out var handled, (0x12 | (3UL << 48) | (0x55UL << 32), 0x7000)));
        Assert.Equal(1u, handled);
        Assert.Equal(0x99UL, Read(0x7000));

        // A context descriptor is read again after CFGI_CD of the guest's stream id.
        Guest(0x1000) = 0;
        Assert.NotNull(Read(0x7000));
        Assert.Equal(0, Invalidate(out _, (0x05 | ((ulong)VirtualStream << 32), 1)));
        Assert.Null(Read(0x7000));
    }

    [Fact]
    public void A_command_that_a_guest_may_not_give_is_EIO_and_those_before_it_are_counted()
    {
        AddVirtualDevice();
        Assert.Equal(-5, Invalidate(out var handled, (0x30, 0), (0x46, 0)));
        Assert.Equal(1u, handled);
        Assert.Equal(-5, Invalidate(out handled, (0x03UL | ((ulong)VirtualStream << 32), 0)));
        Assert.Equal(0u, handled);
        Assert.Equal(-5, Invalidate(out _, (0x05UL | (0x43UL << 32), 0))); // no such device
        Assert.Equal(-5, Invalidate(out _, (0x12, 1 << 10)));              // a range of nothing
        Assert.Equal(-5, Invalidate(out _, (0x10 | (1UL << 20), 0)));      // a reserved bit
        Assert.Equal(0, Invalidate(out handled, (0x30, 0), (0x11 | (3UL << 48), 0)));
        Assert.Equal(2u, handled);
    }

    [Fact]
    public void The_guest_hears_of_its_own_faults_with_its_own_stream_id()
    {
        AddVirtualDevice();
        Attach();
        var queue = new iommu_veventq_alloc { viommu_id = _viommu, type = (uint)iommu_veventq_type.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, veventq_depth = 4 };
        Assert.Equal(0, _machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_VEVENTQ_ALLOC, ref queue));
        var file = _machine.Process.GetFile((int)queue.out_veventq_fd)!;
        Assert.Null(Read(0x8008));
        Guest(0x5000 + (8 * 8)) = 0x4000_0000 | 0x743;
        Assert.Null(Read(0x8008)); // a fault of stage 2 is the host's business
        var buffer = stackalloc ulong[16];
        Assert.Equal(40, file.Read((ulong)buffer, 128, _machine.User));
        Assert.Equal(0UL, buffer[0]);
        Assert.Equal(0x10UL | ((ulong)VirtualStream << 32), buffer[1]);
        Assert.Equal(0x8008UL, buffer[3]);
        file.Put();
    }
}
