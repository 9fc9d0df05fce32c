using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Errno;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Vfio;

/// <summary>Device information and regions: configuration space, BARs.</summary>
public sealed class RegionTests : IDisposable
{
    private const int Command = 4;
    private readonly TestHost _t = new();

    public void Dispose() => _t.Dispose();

    private int Bound(string device)
    {
        int file = _t.OpenDevice(device);
        _t.Bind(file, _t.OpenIommu());
        return file;
    }

    private void EnableMemory(int device) =>
        Assert.Equal(
            2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, Command, 2, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, Command, 2) | 2));

    [Fact]
    public void A_PCI_function_has_nine_regions_and_five_kinds_of_interrupt()
    {
        vfio_device_info info = _t.Info(Bound(_t.Single));
        Assert.Equal(VFIO_DEVICE_FLAGS_PCI, info.flags & VFIO_DEVICE_FLAGS_PCI);
        Assert.Equal(9u, info.num_regions);
        Assert.Equal(5u, info.num_irqs);
    }

    [Fact]
    public void The_reset_flag_tells_whether_the_function_can_be_reset()
    {
        Assert.Equal(0u, _t.Info(Bound(_t.Single)).flags & VFIO_DEVICE_FLAGS_RESET);
        Assert.Equal(VFIO_DEVICE_FLAGS_RESET, _t.Info(Bound(_t.Nvme)).flags & VFIO_DEVICE_FLAGS_RESET);
    }

    [Theory]
    [InlineData(15, EINVAL)]
    [InlineData(16, 0)]
    [InlineData(24, 0)]
    [InlineData(100, 0)]
    public void Get_info_takes_every_size_from_the_end_of_num_irqs(int size, int errno)
    {
        byte[] argument = new byte[128];
        BitConverter.TryWriteBytes(argument, size);
        Assert.Equal(-errno, _t.Ioctl(Bound(_t.Single), VFIO_DEVICE_GET_INFO, argument));
    }

    [Theory]
    [InlineData(0x3b6bu)]
    [InlineData(0x3b6cu)]
    [InlineData(0x3b6du)]
    [InlineData(0x3b6eu)]
    [InlineData(0x3b70u)]
    [InlineData(0x3b71u)]
    [InlineData(0x3b74u)]
    [InlineData(0x3b75u)]
    [InlineData(0x3b77u)]
    [InlineData(0x3b78u)]
    public void A_wild_pointer_is_EFAULT(uint request) => TestHost.Fails(EFAULT, _t.Kernel.Ioctl(Bound(_t.Single), request, 0x1000));

    [Fact]
    public void A_region_starts_at_its_index_shifted_by_40()
    {
        int device = Bound(_t.Single);
        for (uint index = 0; index < VFIO_PCI_NUM_REGIONS - 1; index++)
        {
            Assert.Equal((ulong)index << 40, _t.Region(device, index).offset);
        }
    }

    [Fact]
    public void The_configuration_space_is_a_region_of_256_or_4096_bytes()
    {
        vfio_region_info conventional = _t.Region(Bound(_t.Single), VFIO_PCI_CONFIG_REGION_INDEX);
        Assert.Equal(256u, conventional.size);
        Assert.Equal(VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE, conventional.flags);
        Assert.Equal(4096u, _t.Region(Bound(_t.Nvme), VFIO_PCI_CONFIG_REGION_INDEX).size);
    }

    [Fact]
    public void A_BAR_has_its_size_and_can_be_read_and_written()
    {
        vfio_region_info bar = _t.Region(Bound(_t.Single), 0);
        Assert.Equal(1u << 20, bar.size);
        Assert.Equal(VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE, bar.flags & 3);
    }

    [Fact]
    public void A_BAR_that_does_not_exist_has_no_size_and_no_flags()
    {
        vfio_region_info bar = _t.Region(Bound(_t.Single), 3);
        Assert.Equal(0u, bar.size);
        Assert.Equal(0u, bar.flags);
    }

    [Theory]
    [InlineData(8u)]
    [InlineData(9u)]
    [InlineData(uint.MaxValue)]
    public unsafe void The_VGA_region_and_regions_beyond_are_EINVAL(uint index)
    {
        vfio_region_info info = new() { argsz = (uint)sizeof(vfio_region_info), index = index };
        TestHost.Fails(EINVAL, _t.Ioctl(Bound(_t.Single), VFIO_DEVICE_GET_REGION_INFO, ref info));
    }

    [Fact]
    public void Region_info_below_its_size_is_EINVAL()
    {
        vfio_region_info info = new() { argsz = 31 };
        TestHost.Fails(EINVAL, _t.Ioctl(Bound(_t.Single), VFIO_DEVICE_GET_REGION_INFO, ref info));
    }

    [Fact]
    public void The_ids_are_in_the_configuration_space()
    {
        int device = Bound(_t.Single);
        Assert.Equal(0x11e81234u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, 4));
        Assert.Equal(0x1234u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, 2));
        Assert.Equal(0xe8u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 2, 1));
    }

    [Fact]
    public void Ids_class_and_header_type_cannot_be_written()
    {
        int device = Bound(_t.Single);
        foreach (int offset in new[] { 0, 8, 0x0c & ~3 })
        {
            ulong before = _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, offset, 4) & (offset == 0xc ? 0x00ff0000u : ~0ul);
            Assert.Equal(4, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, offset, 4, ~0ul));
            Assert.Equal(before, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, offset, 4) & (offset == 0xc ? 0x00ff0000u : ~0ul));
        }
    }

    [Fact]
    public void A_read_that_ends_beyond_the_configuration_space_is_EFAULT()
    {
        int device = Bound(_t.Single);
        Assert.Equal(-EFAULT, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 256, 1, out _));
        Assert.Equal(-EFAULT, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 254, 4, out _));
        Assert.Equal(-EFAULT, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 256, 1, 0));
    }

    [Fact]
    public void A_read_of_no_bytes_is_0()
    {
        int device = Bound(_t.Single);
        Assert.Equal(0, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, 0, out _));
        Assert.Equal(0, _t.ReadRegion(device, 0, 0, 0, out _));
    }

    [Fact]
    public void Writing_all_ones_to_a_BAR_sizes_it()
    {
        int device = Bound(_t.Single);
        Assert.Equal(4, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x10, 4, 0xffffffff));
        Assert.Equal(0xfff00000u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x10, 4));
    }

    [Fact]
    public void A_BAR_keeps_the_address_that_the_user_writes_and_the_device_stays_where_it_is()
    {
        int device = Bound(_t.Single);
        EnableMemory(device);
        Assert.Equal(4, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x10, 4, 0x12345678));
        Assert.Equal(0x12300000u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x10, 4));
        Assert.Equal(0x010000edu, _t.ReadRegion(device, 0, 0, 4));
    }

    [Fact]
    public void A_64_bit_BAR_sizes_over_two_registers()
    {
        int device = Bound(_t.Nvme);
        Assert.Equal(4, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x10, 4, 0xffffffff));
        Assert.Equal(4, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x14, 4, 0xffffffff));
        Assert.Equal(0xffffc004u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x10, 4));
        Assert.Equal(0xffffffffu, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x14, 4));
    }

    [Fact]
    public void A_BAR_that_does_not_exist_stays_0()
    {
        int device = Bound(_t.Single);
        Assert.Equal(4, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x1c, 4, 0xffffffff));
        Assert.Equal(0u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x1c, 4));
    }

    [Fact]
    public void The_interrupt_line_register_is_the_users_to_write()
    {
        int device = Bound(_t.Single);
        Assert.Equal(1, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x3c, 1, 0x5a));
        Assert.Equal(0x5au, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x3c, 1));
    }

    [Fact]
    public void The_bus_master_bit_is_off_after_bind_and_can_be_set()
    {
        int device = Bound(_t.Single);
        Assert.Equal(0u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, Command, 2) & 4);
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, Command, 2, 6));
        Assert.Equal(6u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, Command, 2) & 7);
    }

    [Fact]
    public void Access_to_a_BAR_without_memory_decoding_is_EIO()
    {
        int device = Bound(_t.Single);
        EnableMemory(device);
        Assert.Equal(4, _t.ReadRegion(device, 0, 0, 4, out _));
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, Command, 2, 0));
        Assert.Equal(-EIO, _t.ReadRegion(device, 0, 0, 4, out _));
        Assert.Equal(-EIO, _t.WriteRegion(device, 0, 4, 4, 0));
    }

    [Fact]
    public void Access_beyond_the_end_of_a_BAR_is_EINVAL()
    {
        int device = Bound(_t.Single);
        EnableMemory(device);
        Assert.Equal(-EINVAL, _t.ReadRegion(device, 0, 1 << 20, 4, out _));
        Assert.Equal(-EINVAL, _t.ReadRegion(device, 3, 0, 4, out _));
        Assert.Equal(-EINVAL, _t.ReadRegion(device, 200, 0, 4, out _));
    }

    [Fact]
    public void A_BAR_read_across_the_end_is_short()
    {
        int device = Bound(_t.Single);
        EnableMemory(device);
        Assert.Equal(4, _t.ReadRegion(device, 0, (1 << 20) - 4, 8, out _));
    }

    [Fact]
    public void The_edu_device_answers()
    {
        int device = Bound(_t.Single);
        EnableMemory(device);
        Assert.Equal(0x010000edu, _t.ReadRegion(device, 0, 0, 4));
        Assert.Equal(4, _t.WriteRegion(device, 0, 4, 4, 0x12345678));
        Assert.Equal(0xedcba987u, _t.ReadRegion(device, 0, 4, 4));
    }

    [Fact]
    public void Writing_the_ROM_region_is_EINVAL() => Assert.Equal(-EINVAL, _t.WriteRegion(Bound(_t.Single), VFIO_PCI_ROM_REGION_INDEX, 0, 4, 0));

    [Fact]
    public unsafe void A_function_that_is_no_VGA_has_no_VGA_region()
    {
        int device = Bound(_t.Single);
        vfio_region_info info = new() { argsz = (uint)sizeof(vfio_region_info), index = VFIO_PCI_VGA_REGION_INDEX };
        TestHost.Fails(EINVAL, _t.Ioctl(device, VFIO_DEVICE_GET_REGION_INFO, ref info));
        Assert.Equal(-EINVAL, _t.ReadRegion(device, VFIO_PCI_VGA_REGION_INDEX, 0x3c0, 1, out _));
        Assert.Equal(-EINVAL, _t.WriteRegion(device, VFIO_PCI_VGA_REGION_INDEX, 0x3c0, 1, 0));
    }

    [Fact]
    public void A_function_without_a_ROM_has_an_empty_ROM_region()
    {
        int device = Bound(_t.Single);
        vfio_region_info info = _t.Region(device, VFIO_PCI_ROM_REGION_INDEX);
        Assert.Equal((0UL, 0u), (info.size, info.flags));
        Assert.Equal(-EINVAL, _t.ReadRegion(device, VFIO_PCI_ROM_REGION_INDEX, 0, 4, out _));
        Assert.True(_t.Kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_SHARED, device, (long)VFIO_PCI_ROM_REGION_INDEX << 40) < 0);
    }

    [Fact]
    public void The_MSI_X_table_reads_as_ones()
    {
        int device = Bound(_t.Nvme);
        EnableMemory(device);
        Assert.Equal(0xffffffffu, _t.ReadRegion(device, 0, 0x2000, 4));
        Assert.Equal(4, _t.WriteRegion(device, 0, 0x2000, 4, 0));
        Assert.Equal(0xffffffffu, _t.ReadRegion(device, 0, 0x2000, 4));
    }

    [Fact]
    public void A_private_mapping_of_a_BAR_is_EINVAL() =>
        Assert.Equal(-EINVAL, _t.Kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_PRIVATE, Bound(_t.Single), 0));

    [Fact]
    public void The_configuration_space_cannot_be_mapped() =>
        Assert.Equal(-EINVAL, _t.Kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_SHARED, Bound(_t.Single), (long)VFIO_PCI_CONFIG_REGION_INDEX << 40));

    [Fact]
    public void A_mapping_larger_than_the_BAR_is_EINVAL() =>
        Assert.Equal(-EINVAL, _t.Kernel.Mmap(0, 2 << 20, Libc.PROT_READ, Libc.MAP_SHARED, Bound(_t.Single), 0));

    [Fact]
    public void Capabilities_that_a_user_must_not_have_are_not_in_the_chain()
    {
        int device = Bound(_t.Nic);
        var found = new List<ulong>();
        for (ulong at = _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x34, 1); at != 0
            && found.Count < 48; at = _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, (long)at + 1, 1))
        {
            found.Add(_t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, (long)at, 1));
        }

        Assert.Equal([0x01ul, 0x05, 0x11, 0x10], found);
    }

    [Fact]
    public void The_extended_capabilities_can_be_walked()
    {
        int device = Bound(_t.Nic);
        var found = new List<ulong>();
        for (ulong at = 0x100; at != 0 && found.Count < 480;)
        {
            ulong head = _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, (long)at, 4);
            found.Add(head & 0xffff);
            at = head >> 20;
        }

        Assert.Equal([0x0001ul, 0x000e, 0x0010], found);
    }

    [Fact]
    public void The_SR_IOV_capability_cannot_be_written()
    {
        int device = Bound(_t.Nic);
        ulong before = _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x168, 4);
        Assert.Equal(4, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x168, 4, ~before));
        Assert.Equal(before, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x168, 4));
    }

    [Fact]
    public void PME_is_hidden_from_the_power_management_capability()
    {
        int device = Bound(_t.Nic);
        Assert.Equal(0u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x42, 2) & 0xf800);
    }

    [Fact]
    public void In_D3hot_a_BAR_is_EIO_and_D0_brings_it_back()
    {
        int device = Bound(_t.Nic);
        EnableMemory(device);
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x44, 2, 3));
        Assert.Equal(-EIO, _t.ReadRegion(device, 0, 0, 4, out _));
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x44, 2, 0));
        Assert.Equal(4, _t.ReadRegion(device, 0, 0, 4, out _));
    }

    [Fact]
    public void The_MSI_enable_bit_cannot_be_set_through_the_configuration_space()
    {
        int device = Bound(_t.Single);
        ulong flags = _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x42, 2);
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x42, 2, flags | 1));
        Assert.Equal(0u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x42, 2) & 1);
    }

    [Fact]
    public void Reset_without_a_method_is_EINVAL() => TestHost.Fails(EINVAL, _t.Kernel.Ioctl(Bound(_t.Single), VFIO_DEVICE_RESET, 0));

    [Fact]
    public void Reset_keeps_the_configuration_that_the_host_needs()
    {
        int device = Bound(_t.Nvme);
        EnableMemory(device);
        TestHost.Succeeds(_t.Kernel.Ioctl(device, VFIO_DEVICE_RESET, 0), "RESET");
        Assert.Equal(0x00101b36u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0, 4));
        Assert.Equal(4, _t.ReadRegion(device, 0, 0, 4, out _));
    }

    [Fact]
    public void A_function_level_reset_through_the_configuration_space_reads_back_as_0()
    {
        int device = Bound(_t.Nvme);
        ulong control = _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x88, 2);
        Assert.Equal(2, _t.WriteRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x88, 2, control | 0x8000));
        Assert.Equal(0u, _t.ReadRegion(device, VFIO_PCI_CONFIG_REGION_INDEX, 0x88, 2) & 0x8000);
    }
}
