using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>What one kernel interface has and another has not.</summary>
public sealed class InterfaceTests
{
    [Theory]
    [Trait("rfc", "CHECK_EXTENSION mainline legacy refused")]
    [InlineData("intel", ContextKind.Iommufd)]
    [InlineData("amd", ContextKind.Iommufd)]
    [InlineData("legacy-vfio", ContextKind.Container)]
    [InlineData("rfc", ContextKind.Rfc)]
    [InlineData("rfc-smmuv3", ContextKind.Rfc)]
    public void The_interface_is_found_by_asking_the_descriptor(string topology, ContextKind kind)
    {
        using SimulatedHost machine = new(Topology.ByName(topology) with { KernelRelease = "9.9.9" });
        using IommuHost host = IommuHost.Over(machine);
        using IommuContext context = host.OpenContext();
        Assert.Equal(kind, context.Kind);
        int descriptor = kind == ContextKind.Container ? -1 : machine.Kernel.Open("/dev/iommu", Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        if (descriptor >= 0)
        {
            using IommuContext adopted = IommuContext.Adopt(host, descriptor); // one that came from somewhere
            Assert.Equal(kind, adopted.Kind);
        }
    }

    [Fact]
    [Trait("rfc", "CHECK_EXTENSION mainline refused")]
    public void An_interface_that_is_not_there_is_refused_by_name()
    {
        using SimulatedHost mainline = new(Topology.ByName("intel")), proposal = new(Topology.ByName("rfc"));
        using IommuHost one = IommuHost.Over(mainline), other = IommuHost.Over(proposal);
        Assert.Contains("it is mainline's, not the proposal's of 2021", Assert.Throws<IommuFdException>(
            () => one.OpenContext(ContextKind.Rfc)).Message, StringComparison.Ordinal);
        Assert.Contains("it is the proposal's of 2021, not mainline's", Assert.Throws<IommuFdException>(
            () => other.OpenContext(ContextKind.Iommufd)).Message, StringComparison.Ordinal);
    }

    [Fact]
    [Trait("rfc", "NUMBERS mainline legacy refused")]
    public void The_proposals_numbers_mean_nothing_or_something_else_elsewhere()
    {
        using SpaceMachine mainline = new("intel"), legacy = new("legacy-vfio");
        using BoundDevice device = mainline.Bind(Simulated.Edu, 1), member = legacy.Bind(Simulated.Edu, 1);
        vfio_bind_iommu_fd bind = default;
        Assert.Equal(-Errno.ENOTTY, device.Descriptor.Ioctl(Rfc.VFIO_BIND_IOMMU_FD, ref bind));
        Assert.Equal(-Errno.ENOTTY, member.Descriptor.Ioctl(Rfc.VFIO_BIND_IOMMU_FD, ref bind));
        Assert.Equal(Vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT, Rfc.VFIO_DEVICE_BIND_IOMMUFD); // September 2021's bind is mainline's attach
        Assert.Equal(Vfio.VFIO_GET_API_VERSION, Rfc.IOMMU_CHECK_EXTENSION);
    }

    [Fact]
    [Trait("rfc", "1.1-hardware-nesting mainline")]
    [Trait("rfc", "INVALIDATE mainline")]
    [Trait("rfc", "FAULT_REGION mainline")]
    [Trait("rfc", "FAULT_COMPLETE mainline")]
    [Trait("rfc", "CAP_PASID mainline")]
    [Trait("rfc", "DIRTY mainline")]
    [Trait("rfc", "1.2-rid-pasid mainline")]
    [Trait("rfc", "1.6-type5 mainline")]
    [Trait("rfc", "1.7-box1 mainline")]
    [Trait("rfc", "1.7-box2 mainline")]
    public void A_device_with_PASIDs_says_what_its_IOMMU_can_and_the_model_uses_it()
    {
        using SpaceMachine machine = new("intel-scalable");
        using BoundDevice device = machine.Bind(SpaceMachine.Pasid, 0xd1);
        DeviceCapabilities can = device.GetCapabilities();
        Assert.Equal((NestingKinds.Software | NestingKinds.Hardware, 20, true, (bool?)true, false),
            (can.Nesting, can.PasidWidth, can.TracksDirty, can.EnforcesSnoop, can.DelegatesPasids));
        Assert.Equal([UserTableFormat.VtdFirstStage], can.UserTables);

        Assert.Equal(CpuPasids.None, can.CpuPasids);

        using IoAddressSpace root = machine.Context.CreateAddressSpace(), other = machine.Context.CreateAddressSpace();
        using Mapping mapping = root.MapFixed(machine.Buffer, DmaAccess.ReadWrite, 0x10_0000),
            there = other.MapFixed(machine.Buffer, DmaAccess.ReadWrite, 0x20_0000);
        using Attachment rid = device.Attach(root), pasid = device.Attach(other, pasid: 77);
        Assert.Equal((SpaceMachine.Word(0), null), (machine.Read(device, 0x10_0000), machine.Read(device, 0x20_0000)));
        Assert.Equal((null, SpaceMachine.Word(0)), (machine.Read(device, 0x10_0000, 77), machine.Read(device, 0x20_0000, 77)));
        using UserTableSpace table = other.CreateUserTable(new UserTable(UserTableFormat.VtdFirstStage, 0x20_0000), faults: true);
        using Attachment nested = device.Attach(table, pasid: 77);
        Assert.Null(machine.Read(device, 0x20_0000, 77));
        table.Invalidate(0, 0x1000);
        table.InvalidateAll();
        Assert.False(table.Faults!.TryReadRequest(out _));
        nested.Dispose();
        Assert.Equal(SpaceMachine.Word(0), machine.Read(device, 0x20_0000, 77));
    }

    [Fact]
    [Trait("rfc", "1.6-type1 mainline")]
    [Trait("rfc", "1.7-box3 mainline")]
    public void A_device_without_PASIDs_has_one_space_and_says_why()
    {
        using SpaceMachine machine = new("intel");
        using BoundDevice device = machine.Bind(Simulated.Edu, 1);
        using IoAddressSpace root = machine.Context.CreateAddressSpace();
        IommuFdException refused = Assert.Throws<IommuFdException>(() => device.Attach(root, pasid: 1));
        Assert.Equal((Errno.EOPNOTSUPP, FailureCause.NotSupported), (refused.Errno, refused.Cause));
        Assert.Contains("out_max_pasid_log2=0", refused.Message, StringComparison.Ordinal);
        Assert.False(device.GetCapabilities().EnforcesSnoop);
    }

    [Fact]
    [Trait("rfc", "1.1-hardware-nesting legacy refused")]
    [Trait("rfc", "INVALIDATE legacy refused")]
    [Trait("rfc", "FAULT_REGION legacy refused")]
    [Trait("rfc", "FAULT_COMPLETE legacy refused")]
    [Trait("rfc", "CAP_PASID legacy refused")]
    [Trait("rfc", "1.2-rid-pasid legacy refused")]
    [Trait("rfc", "3.3-9 legacy refused")]
    [Trait("rfc", "3.3-8 legacy refused")]
    [Trait("rfc", "3.3-10 legacy refused")]
    [Trait("rfc", "3.5-1 legacy refused")]
    [Trait("rfc", "1.6-type4 legacy refused")]
    [Trait("rfc", "1.6-type5 legacy refused")]
    [Trait("rfc", "DIRTY legacy refused")]
    [Trait("rfc", "1.6-type1 legacy")]
    public void Legacy_VFIO_has_neither_tables_of_the_program_nor_PASIDs()
    {
        using SpaceMachine machine = new("legacy-vfio");
        using BoundDevice device = machine.Bind(Simulated.Edu, 1);
        using IoAddressSpace root = machine.Context.CreateAddressSpace();
        Assert.Equal((NestingKinds.Software, 0), (device.GetCapabilities().Nesting, device.GetCapabilities().PasidWidth));
        Assert.Equal(FailureCause.NotSupported, Assert.Throws<IommuFdException>(() =>
            root.CreateUserTable(new UserTable(UserTableFormat.VtdFirstStage, 0), faults: true)).Cause);
        Assert.Equal(FailureCause.NotSupported, Assert.Throws<IommuFdException>(() => device.Attach(root, pasid: 3)).Cause);
        // no table that tracks; a container of level 1 has its own bitmap
        Assert.Equal(FailureCause.NotSupported, Assert.Throws<IommuFdException>(() => root.Ioas).Cause);
    }

    [Fact]
    [Trait("rfc", "3.3-10 mainline")]
    public void A_PASID_table_stands_under_the_device_itself_and_a_page_table_under_a_PASID()
    {
        using SpaceMachine machine = new("intel-scalable");
        using BoundDevice device = machine.Bind(SpaceMachine.Pasid, 1);
        using IoAddressSpace root = machine.Context.CreateAddressSpace();
        using UserTableSpace delegated = root.CreateUserTable(new UserTable(UserTableFormat.ArmContextDescriptors, 0)),
            page = root.CreateUserTable(new UserTable(UserTableFormat.VtdFirstStage, 0));
        Assert.Contains("a PASID table stands under the device itself", Assert.Throws<IommuFdException>(
            () => device.Attach(delegated, pasid: 4)).Message, StringComparison.Ordinal);
        using Attachment rid = device.Attach(root), attachment = device.Attach(page, pasid: 4);
        Assert.Contains(
            "attached to this space already", Assert.Throws<IommuFdException>(() => device.Attach(page, pasid: 4)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_proposals_kernel_tells_which_devices_have_PASIDs_in_CPU_instructions()
    {
        using SimulatedHost machine = new(Topology.ByName("rfc"));
        using IommuHost host = IommuHost.Over(machine);
        PciAddress plain = PciAddress.Parse("0000:00:08.0"), cpu = PciAddress.Parse("0000:00:0a.0");
        DriverBinder binder = new(machine.Sysfs, new MemoryBindingStore());
        Assert.Null(binder.Apply(binder.PlanBind([plain, cpu], DriverClaim.VfioPci)));
        using IommuContext context = host.OpenContext();
        using VfioDeviceFile first = host.OpenDevice(plain), second = host.OpenDevice(cpu);
        using BoundDevice one = first.Bind(context, 1), other = second.Bind(context, 2);
        Assert.Equal((CpuPasids.None, CpuPasids.Untranslated), (one.GetCapabilities().CpuPasids, other.GetCapabilities().CpuPasids));
        Assert.Equal(NestingKinds.Software | NestingKinds.Hardware, one.GetCapabilities().Nesting);
    }

    [Theory]
    [Trait("rfc", "3.3-8 mainline")]
    [Trait("rfc", "3.3-9 mainline")]
    [InlineData("arm-smmuv3", UserTableFormat.VtdFirstStage, "does not walk tables of the format VtdFirstStage")]
    [InlineData("intel-scalable", UserTableFormat.ArmContextDescriptors, "does not walk tables of the format ArmContextDescriptors")]
    [InlineData("intel", UserTableFormat.VtdFirstStage, "the VT-d unit has no scalable mode (ECAP.SMTS)")]
    [InlineData("amd", UserTableFormat.AmdGuest, "mainline takes no user-managed tables of the format AmdGuest")]
    public void A_table_that_the_devices_IOMMU_cannot_walk_is_refused_at_attach(string topology, UserTableFormat format, string reason)
    {
        using SpaceMachine machine = new(topology);
        using BoundDevice device = machine.Bind(Simulated.Edu, 1);
        using IoAddressSpace root = machine.Context.CreateAddressSpace();
        using Attachment parent = device.Attach(root);
        using Mapping mapping = root.MapFixed(machine.Buffer, DmaAccess.Read, 0x10_0000);
        using UserTableSpace table = root.CreateUserTable(new UserTable(format, 0x10_0000)); // only on a parent: a root is the kernel's
        Assert.Same(root, table.Parent);
        Assert.Contains(reason, Assert.Throws<IommuFdException>(() => device.Attach(table)).Message, StringComparison.Ordinal);
        Assert.Equal(SpaceMachine.Word(0), machine.Read(device, 0x10_0000)); // as before
    }

    [Fact]
    [Trait("rfc", "3.5-1 mainline")]
    [Trait("rfc", "1.6-type4 mainline")]
    public void Where_the_PASID_table_is_the_programs_one_space_stands_for_all()
    {
        using SpaceMachine machine = new("arm-smmuv3");
        using BoundDevice device = machine.Bind(Simulated.Edu, 1);
        DeviceCapabilities can = device.GetCapabilities();
        Assert.True(can.DelegatesPasids);
        Assert.Equal([UserTableFormat.ArmContextDescriptors], can.UserTables);
        using IoAddressSpace root = machine.Context.CreateAddressSpace();
        using UserTableSpace table = root.CreateUserTable(new UserTable(UserTableFormat.ArmContextDescriptors, 0x10_0000) { PasidBits = 4 });
        Assert.Equal(SpaceKind.UserPasidTable, table.Kind);
        using Attachment attachment = device.Attach(table);
        table.InvalidatePasid(3);
        table.InvalidateAll();
    }

    [Fact]
    [Trait("rfc", "1.2-software-mdev mainline")]
    [Trait("rfc", "1.6-type2 mainline")]
    [Trait("rfc", "1.2-mdev mainline refused")]
    [Trait("rfc", "1.6-type3 mainline refused")]
    [Trait("rfc", "1.6-type6 mainline refused")]
    public void A_purely_software_mediated_device_has_no_table_and_no_PASIDs()
    {
        using SpaceMachine machine = new("intel");
        const string name = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
        Assert.True(machine.Machine.Sysfs.WriteText("/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create", name) >= 0);
        Assert.True(machine.Machine.Sysfs.List($"/sys/bus/mdev/devices/{name}/vfio-dev", out string[] nodes) >= 0);
        using VfioDeviceFile file = machine.Host.OpenDevice($"/dev/vfio/devices/{nodes[0]}");
        using BoundDevice device = file.Bind(machine.Context, 9);
        using IoAddressSpace root = machine.Context.CreateAddressSpace();
        using ChildAddressSpace child = root.CreateChild();
        using Attachment attachment = device.Attach(child);
        Assert.Equal(child.Id, attachment.TableId); // the space itself: no table was made
        Assert.Equal(FailureCause.NotSupported, Assert.Throws<IommuFdException>(() => device.Attach(root, pasid: 1)).Cause);
    }

    [Fact]
    [Trait("rfc", "1.2-software-mdev legacy refused")]
    [Trait("rfc", "1.2-mdev legacy refused")]
    [Trait("rfc", "1.6-type2 legacy refused")]
    [Trait("rfc", "1.6-type3 legacy refused")]
    [Trait("rfc", "1.6-type6 legacy refused")]
    public void Over_containers_the_model_takes_PCI_functions_only()
    {
        using SpaceMachine machine = new("intel", ContextKind.Container);
        const string name = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
        Assert.True(machine.Machine.Sysfs.WriteText("/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create", name) >= 0);
        Assert.True(machine.Machine.Sysfs.List($"/sys/bus/mdev/devices/{name}/vfio-dev", out string[] nodes) >= 0);
        using VfioDeviceFile file = machine.Host.OpenDevice($"/dev/vfio/devices/{nodes[0]}");
        Assert.Contains("a device is found by its PCI address and group", Assert.Throws<IommuFdException>(
            () => file.Bind(machine.Context, 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    [Trait("rfc", "1.7-box1 legacy")]
    [Trait("rfc", "1.7-box2 legacy")]
    public void Legacy_VFIO_enforces_snooping_where_the_IOMMU_can()
    {
        using SpaceMachine machine = new("intel-scalable", ContextKind.Container);
        using BoundDevice device = machine.Bind(Simulated.Edu, 1);
        Assert.Equal(true, device.GetCapabilities().EnforcesSnoop);
    }
}
