using System.Reflection;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;

namespace Native.Tests.Abi;

/// <summary>The command tables against the request constants, the kernel's size rules and the compiler.</summary>
public sealed class IoctlCommandTests
{
    /// <summary>Per command the last member the kernel insists on: iommufd_ioctl_ops and the minsz of drivers/vfio, Linux 7.3.</summary>
    public static TheoryData<string, string, uint> LastMembers => new()
    {
        { "IOMMU_DESTROY", "id", 8 },
        { "IOMMU_FAULT_QUEUE_ALLOC", "out_fault_fd", 16 },
        { "IOMMU_GET_HW_INFO", "__reserved", 32 },
        { "IOMMU_HW_QUEUE_ALLOC", "length", 40 },
        { "IOMMU_HWPT_ALLOC", "__reserved", 24 },
        { "IOMMU_HWPT_GET_DIRTY_BITMAP", "data", 48 },
        { "IOMMU_HWPT_INVALIDATE", "__reserved", 32 },
        { "IOMMU_HWPT_SET_DIRTY_TRACKING", "__reserved", 16 },
        { "IOMMU_IOAS_ALLOC", "out_ioas_id", 12 },
        { "IOMMU_IOAS_ALLOW_IOVAS", "allowed_iovas", 24 },
        { "IOMMU_IOAS_CHANGE_PROCESS", "__reserved", 8 },
        { "IOMMU_IOAS_COPY", "src_iova", 40 },
        { "IOMMU_IOAS_IOVA_RANGES", "out_iova_alignment", 32 },
        { "IOMMU_IOAS_MAP", "iova", 40 },
        { "IOMMU_IOAS_MAP_FILE", "iova", 40 },
        { "IOMMU_IOAS_NOIOMMU_GET_PA", "out_phys", 40 },
        { "IOMMU_IOAS_UNMAP", "length", 24 },
        { "IOMMU_OPTION", "val64", 24 },
        { "IOMMU_VDEVICE_ALLOC", "virt_id", 24 },
        { "IOMMU_VEVENTQ_ALLOC", "out_veventq_fd", 28 },
        { "IOMMU_VFIO_IOAS", "__reserved", 12 },
        { "IOMMU_VIOMMU_ALLOC", "out_viommu_id", 24 },
        { "VFIO_GROUP_GET_STATUS", "flags", 8 },
        { "VFIO_DEVICE_GET_INFO", "num_irqs", 16 },
        { "VFIO_DEVICE_GET_REGION_INFO", "offset", 32 },
        { "VFIO_DEVICE_GET_IRQ_INFO", "count", 16 },
        { "VFIO_DEVICE_SET_IRQS", "count", 20 },
        { "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", "count", 12 },
        { "VFIO_DEVICE_PCI_HOT_RESET", "count", 12 },
        { "VFIO_DEVICE_QUERY_GFX_PLANE", "dmabuf_id", 60 },
        { "VFIO_DEVICE_IOEVENTFD", "fd", 28 },
        { "VFIO_DEVICE_FEATURE", "flags", 8 },
        { "VFIO_DEVICE_BIND_IOMMUFD", "out_devid", 16 },
        { "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "pt_id", 12 },
        { "VFIO_DEVICE_DETACH_IOMMUFD_PT", "flags", 8 },
        { "VFIO_MIG_GET_PRECOPY_INFO", "dirty_bytes", 24 },
        { "VFIO_IOMMU_GET_INFO", "iova_pgsizes", 16 },
        { "VFIO_IOMMU_MAP_DMA", "size", 32 },
        { "VFIO_IOMMU_UNMAP_DMA", "size", 24 },
        { "VFIO_IOMMU_DIRTY_PAGES", "flags", 8 },
    };

    public static TheoryData<IoctlDialect> Dialects => [.. Enum.GetValues<IoctlDialect>()];

    private static IEnumerable<IoctlCommand> Kernel => IoctlCommands.Iommufd.Concat(IoctlCommands.Vfio);

    [Theory]
    [MemberData(nameof(LastMembers))]
    public void Minimum_size_ends_with_the_last_member_the_kernel_insists_on(string name, string last, uint documented)
    {
        IoctlCommand command = Kernel.Single(c => c.Name == name);
        Assert.Equal(documented, command.MinimumSize);

        Assert.SkipUnless(CCompiler.IsThere, CCompiler.Missing);
        string c = $"struct {command.Argument!.Name}";
        Header header = AbiAssertions.JudgesOf(command.Argument).Single();
        string complaints = CCompiler.Complaints(AbiAssertions.Source(header,
        [
            new(name, $"{name} == {command.Request}"),
            new(name, $"__builtin_offsetof({c}, {last}) + sizeof((({c} *)0)->{last}) == {command.MinimumSize}"),
            new(name, $"sizeof({c}) == {command.FullSize}"),
        ]));
        Assert.True(complaints.Length == 0, complaints);
    }

    [Fact]
    public void Every_command_of_the_kernel_with_a_struct_has_its_minimum_size_checked()
        => Assert.Equal<string>(
            [],
            Kernel.Where(c => c.Argument is { IsPrimitive: false }).Select(c => c.Name).Except(LastMembers.Select(row => row.Data.Item1)));

    [Theory]
    [InlineData("iommu_destroy", 8)]
    [InlineData("iommu_ioas_alloc", 12)]
    [InlineData("iommu_ioas_allow_iovas", 24)]
    [InlineData("iommu_hwpt_alloc", 48)]
    [InlineData("iommu_hw_info", 40)]
    [InlineData("iommu_viommu_alloc", 40)]
    [InlineData("iommu_veventq_alloc", 32)]
    [InlineData("vfio_device_bind_iommufd", 24)]
    [InlineData("vfio_device_attach_iommufd_pt", 16)]
    [InlineData("vfio_device_detach_iommufd_pt", 12)]
    public void Full_size_is_the_one_that_was_measured(string type, uint size)
        => Assert.Equal(size, Kernel.Single(c => c.Argument?.Name == type).FullSize);

    [Fact]
    public void Iommufd_has_the_22_commands_0x80_to_0x95()
        => Assert.Equal(Enumerable.Range(0x3b80, 22).Select(n => (uint)n), IoctlCommands.Iommufd.Select(c => c.Request).Order());

    [Theory]
    [MemberData(nameof(Dialects))]
    public void Every_request_constant_is_a_command_with_that_name_and_number(IoctlDialect dialect)
    {
        Type constants = dialect switch { IoctlDialect.Iommufd => typeof(Iommufd), IoctlDialect.Vfio => typeof(Vfio), _ => typeof(Rfc) };
        var requests = constants.GetFields(BindingFlags.Public | BindingFlags.Static)
            .Where(f => f.GetRawConstantValue() is uint value && value is >= 0x3b64 and <= 0x3b95 or 0xaef0 or 0xaef1)
            .Select(f => (f.Name, (uint)f.GetRawConstantValue()!));
        Assert.Equal(requests.Order(), IoctlCommands.Of(dialect).Select(c => (c.Name, c.Request)).Order());
    }

    [Theory]
    [MemberData(nameof(Dialects))]
    public void Every_command_is_found_by_dialect_file_and_request(IoctlDialect dialect)
        => Assert.All(IoctlCommands.Of(dialect), command =>
        {
            Assert.True(IoctlCommands.TryFind(dialect, command.File, command.Request, out IoctlCommand found));
            Assert.Equal(command, found);
        });

    [Fact]
    public void One_number_means_different_commands_in_different_dialects_and_files()
    {
        const uint number = 0x3b71;
        Assert.True(IoctlCommands.TryFind(IoctlDialect.Vfio, IoctlFile.VfioContainer, number, out IoctlCommand container));
        Assert.True(IoctlCommands.TryFind(IoctlDialect.Vfio, IoctlFile.VfioDevice, number, out IoctlCommand device));
        Assert.False(IoctlCommands.TryFind(IoctlDialect.Vfio, IoctlFile.VfioGroup, number, out _));
        Assert.Equal((nameof(Vfio.VFIO_IOMMU_MAP_DMA), nameof(Vfio.VFIO_DEVICE_PCI_HOT_RESET)), (container.Name, device.Name));

        Assert.True(IoctlCommands.TryFind(IoctlDialect.Vfio, IoctlFile.VfioDevice, 0x3b77, out IoctlCommand merged));
        Assert.True(IoctlCommands.TryFind(IoctlDialect.Rfc, IoctlFile.VfioDevice, 0x3b77, out IoctlCommand proposed));
        Assert.Equal((nameof(Vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT), nameof(Rfc.VFIO_DEVICE_BIND_IOMMUFD)), (merged.Name, proposed.Name));
    }

    [Fact]
    public void Merged_commands_name_their_first_kernel_and_proposed_ones_have_none()
    {
        Assert.All(Kernel, c => Assert.True(c.Since >= new KernelVersion(3, 6) && c.Since <= new KernelVersion(7, 3)));
        Assert.All(IoctlCommands.Rfc, c => Assert.Null(c.Since));
    }

    [Theory]
    [InlineData("6.13.2-amd64", 6, 13)]
    [InlineData("7.3-rc1", 7, 3)]
    [InlineData("7.3.4", 7, 3)]
    public void Kernel_release_strings_are_read(string release, int major, int minor)
    {
        Assert.True(KernelVersion.TryParse(release, out KernelVersion version));
        Assert.Equal(new KernelVersion(major, minor), version);
    }

    [Theory]
    [InlineData("")]
    [InlineData("7")]
    [InlineData("linux.3")]
    [InlineData("7.x")]
    public void Other_strings_are_not_a_kernel_release(string release) => Assert.False(KernelVersion.TryParse(release, out _));
}
