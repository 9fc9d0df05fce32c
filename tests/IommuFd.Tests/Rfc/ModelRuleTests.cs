using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>The proposal's rules, kept by the model over /dev/iommu.</summary>
public sealed class ModelRulesOverMainlineTests() : ModelRuleTests("intel");

/// <summary>The same rules over legacy VFIO.</summary>
public sealed class ModelRulesOverLegacyTests() : ModelRuleTests("legacy-vfio");

/// <summary>Rules of the proposal (docs/rfc-v2.md) that the model keeps whatever the kernel interface.</summary>
public abstract class ModelRuleTests : IDisposable
{
    private readonly SpaceMachine _machine;
    private readonly ContextKind _kind;

    protected ModelRuleTests(string topology)
    {
        _machine = new SpaceMachine(topology);
        _kind = _machine.Context.Kind;
    }

    public void Dispose()
    {
        _machine.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    [Trait("rfc", "GET_INFO mainline legacy")]
    [Trait("rfc", "1.2-cookie mainline legacy")]
    public void The_capability_query_names_the_device_by_its_cookie()
    {
        using BoundDevice device = _machine.Bind(Simulated.Edu, 0xc00c1e);
        DeviceCapabilities capabilities = device.GetCapabilities();
        Assert.Equal((0xc00c1eul, 48, NestingKinds.Software, 0), (capabilities.Cookie, capabilities.AddressWidth, capabilities.Nesting,
            capabilities.PasidWidth));
        Assert.NotEqual(0ul, capabilities.PageSizes & 0x1000);
        Assert.Empty(capabilities.UserTables);
        Assert.False(capabilities.TracksDirty && _kind == ContextKind.Iommufd); // VT-d in legacy mode; type1 keeps a bitmap of what it pinned
    }

    [Fact]
    [Trait("rfc", "GET_INFO mainline legacy")]
    public void Permitted_ranges_are_those_that_a_space_has_once_the_device_is_attached()
    {
        using BoundDevice device = _machine.Bind(Simulated.Edu, 1);
        IReadOnlyList<IovaRange> permitted = device.GetCapabilities().PermittedRanges;
        using IoAddressSpace space = _machine.Context.CreateAddressSpace();
        using Attachment attachment = device.Attach(space);
        Assert.Equal(space.PermittedRanges, permitted);
        Assert.DoesNotContain(permitted, static range => range.Contains(0xfee0_0000, 0x1000));
    }

    [Fact]
    [Trait("rfc", "ALLOC mainline legacy")]
    [Trait("rfc", "FREE mainline legacy")]
    [Trait("rfc", "1.1-roots mainline legacy")]
    public void Several_roots_in_one_context_are_apart()
    {
        using BoundDevice first = _machine.Bind(Simulated.Edu, 1), second = _machine.Bind(Simulated.PairFirst, 2);
        using IoAddressSpace one = _machine.Context.CreateAddressSpace(), other = _machine.Context.CreateAddressSpace();
        using Attachment a = first.Attach(one), b = second.Attach(other);
        using Mapping here = one.Map(_machine.Buffer, 0, 0x1000, DmaAccess.Read, 0x10_0000),
            there = other.Map(_machine.Buffer, 0x1000, 0x1000, DmaAccess.Read, 0x10_0000);
        Assert.Equal((SpaceMachine.Word(0), SpaceMachine.Word(0x1000)), (_machine.Read(first, 0x10_0000), _machine.Read(second, 0x10_0000)));
        Assert.Equal((SpaceKind.Root, 0, (AddressSpace?)null), (one.Kind, one.Depth, one.Parent));
    }

    [Fact]
    [Trait("rfc", "MAP mainline legacy")]
    [Trait("rfc", "UNMAP mainline legacy")]
    [Trait("rfc", "3.3-12 mainline legacy")]
    public void Map_and_unmap_need_no_attached_device()
    {
        using IoAddressSpace space = _machine.Context.CreateAddressSpace();
        Mapping gone = space.Map(_machine.Buffer, 0, 0x1000, DmaAccess.Read, 0x10_0000);
        using Mapping kept = space.Map(_machine.Buffer, 0x2000, 0x1000, DmaAccess.Read, 0x20_0000);
        gone.Dispose();
        using BoundDevice device = _machine.Bind(Simulated.Edu, 1);
        using Attachment attachment = device.Attach(space);
        Assert.Equal((null, SpaceMachine.Word(0x2000)), (_machine.Read(device, 0x10_0000), _machine.Read(device, 0x20_0000)));
        Assert.Equal(FailureCause.IovaTaken, Assert.Throws<IommuFdException>(() => space.MapFixed(_machine.Buffer, DmaAccess.Read, 0x20_0000)).Cause);
    }

    [Fact]
    [Trait("rfc", "1.1-ioasid mainline legacy")]
    [Trait("rfc", "1.2-rid mainline legacy")]
    public void Devices_of_several_requester_ids_share_one_space()
    {
        using BoundDevice first = _machine.Bind(Simulated.Edu, 1), second = _machine.Bind(Simulated.PairFirst, 2);
        using IoAddressSpace space = _machine.Context.CreateAddressSpace();
        using Attachment a = first.Attach(space), b = second.Attach(space);
        using Mapping mapping = space.MapFixed(_machine.Buffer, DmaAccess.Read, 0x10_0000);
        Assert.Equal((SpaceMachine.Word(8), SpaceMachine.Word(8)), (_machine.Read(first, 0x10_0008), _machine.Read(second, 0x10_0008)));
    }

    [Fact]
    [Trait("rfc", "BIND mainline legacy")]
    [Trait("rfc", "1.3-block-dma mainline legacy")]
    [Trait("rfc", "3.1-bound mainline legacy")]
    [Trait("rfc", "3.2-blocked mainline legacy")]
    public void Bound_access_is_allowed_and_the_DMA_of_the_whole_group_reaches_nothing()
    {
        using BoundDevice device = _machine.Bind(Simulated.PairFirst, 1);
        using Bar bar = device.OpenBar(0);
        Assert.Equal(0xedu, bar.Read32(0) & 0xffff);
        using BoundDevice neighbour = _machine.Bind(Simulated.PairSecond, 2);
        foreach (ulong address in (ulong[])[0, 0x1000, 0x10_0000, (ulong)_machine.Buffer.Address])
        {
            Assert.Equal((null, null), (_machine.Read(device, address), _machine.Read(neighbour, address)));
        }
    }

    [Fact]
    [Trait("rfc", "ATTACH mainline legacy")]
    [Trait("rfc", "DETACH mainline legacy")]
    [Trait("rfc", "3.1-attached mainline legacy")]
    [Trait("rfc", "3.1-detached mainline legacy")]
    [Trait("rfc", "3.2-ioasid mainline legacy")]
    [Trait("rfc", "3.3-4 mainline legacy")]
    public void Attached_DMA_reaches_the_space_and_detached_it_is_blocked_again()
    {
        using BoundDevice device = _machine.Bind(Simulated.Edu, 1);
        using IoAddressSpace space = _machine.Context.CreateAddressSpace();
        using Mapping mapping = space.MapFixed(_machine.Buffer, DmaAccess.ReadWrite, 0x10_0000);
        for (int round = 0; round < 3; round++)
        {
            Attachment attachment = device.Attach(space);
            Assert.Equal(SpaceMachine.Word(0), _machine.Read(device, 0x10_0000));
            Assert.True(_machine.Write(device, 0x10_0008, 5));
            attachment.Dispose();
            Assert.Null(_machine.Read(device, 0x10_0000));
            Assert.False(_machine.Write(device, 0x10_0008, 6));
        }
    }

    [Fact]
    [Trait("rfc", "3.1-closed mainline legacy")]
    [Trait("rfc", "3.2-kernel mainline legacy")]
    public void Closed_the_devices_group_is_the_hosts_again()
    {
        BoundDevice first = _machine.Bind(Simulated.PairFirst, 1), second = _machine.Bind(Simulated.PairSecond, 2);
        first.Dispose();
        second.Dispose();
        DriverBinder binder = new(_machine.Machine.Sysfs, new MemoryBindingStore());
        Assert.Null(binder.Apply(binder.PlanBind([Simulated.PairFirst], "pci-stub")));
        using BoundDevice again = _machine.Bind(Simulated.PairSecond, 2);
    }

    [Fact]
    [Trait("rfc", "3.1-open mainline legacy")]
    [Trait("rfc", "3.3-1 mainline legacy")]
    [Trait("rfc", "3.3-2 mainline legacy")]
    public void Before_bind_a_device_has_neither_regions_nor_DMA()
    {
        // The order of the proposal is the order of the types: what is not bound can only be bound.
        string[] members = [.. typeof(VfioDeviceFile).GetMethods().Where(static method =>
            method.DeclaringType == typeof(VfioDeviceFile) && !method.IsSpecialName).Select(static method => method.Name)];
        Assert.Equal(["Adopt", "AdoptBound", "Bind"], members.Order(StringComparer.Ordinal));
        using VfioDeviceFile file = _machine.Host.OpenDevice(Simulated.Edu);
        if (file.Descriptor is { } descriptor)
        {
            Assert.Equal(-Errno.EINVAL, descriptor.Ioctl(Native.Uapi.Vfio.VFIO_DEVICE_GET_INFO, 0)); // and the kernel says so too
        }
    }

    [Fact]
    [Trait("rfc", "3.3-3 mainline legacy")]
    public void No_unbind_while_user_access_exists()
    {
        BoundDevice device = _machine.Bind(Simulated.Edu, 1);
        Bar bar = device.OpenBar(0);
        device.Dispose();
        Assert.Equal(0xedu, bar.Read32(0) & 0xffff);
        using (VfioDeviceFile file = _machine.Host.OpenDevice(Simulated.Edu))
        using (IommuContext other = _machine.Host.OpenContext(_kind))
        {
            Assert.Throws<IommuFdException>(() => file.Bind(other, 1));
        }

        bar.Dispose();
        using BoundDevice again = _machine.Bind(Simulated.Edu, 1);
    }

    [Fact]
    [Trait("rfc", "3.3-5 mainline legacy")]
    [Trait("rfc", "1.1-fds mainline legacy refused")]
    public void Later_binds_of_the_same_user_succeed_and_another_context_is_refused()
    {
        using BoundDevice first = _machine.Bind(Simulated.PairFirst, 1), second = _machine.Bind(Simulated.PairSecond, 2);
        using IommuContext other = _machine.Host.OpenContext(_kind);
        using VfioDeviceFile file = _machine.Host.OpenDevice(Simulated.PairFirst);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => file.Bind(other, 1));
        Assert.Contains(refused.Errno, (int[])[Errno.EPERM, Errno.EBUSY, Errno.EINVAL]);
    }

    [Fact]
    [Trait("rfc", "3.3-11 mainline legacy")]
    [Trait("rfc", "3.3-6 mainline legacy")]
    public void Members_of_a_group_are_on_one_space()
    {
        using BoundDevice first = _machine.Bind(Simulated.PairFirst, 1), second = _machine.Bind(Simulated.PairSecond, 2);
        using IoAddressSpace one = _machine.Context.CreateAddressSpace(), other = _machine.Context.CreateAddressSpace();
        using Attachment a = first.Attach(one);
        Assert.Equal(Errno.EINVAL, Assert.Throws<IommuFdException>(() => second.Attach(other)).Errno);
        using Attachment b = second.Attach(one);
    }

    [Fact]
    [Trait("rfc", "3.3-7 mainline legacy")]
    public void A_group_with_a_member_on_a_driver_of_the_host_is_not_viable()
    {
        using SpaceMachine broken = new("broken-group", _kind, Simulated.PairFirst);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => broken.Bind(Simulated.PairFirst, 1));
        Assert.Equal(FailureCause.GroupNotViable, refused.Cause);
    }

    [Fact]
    [Trait("rfc", "3.4-free mainline legacy")]
    [Trait("rfc", "3.4-close-iommu mainline legacy")]
    public void What_is_in_use_is_freed_with_its_last_user()
    {
        IommuContext context = _machine.Host.OpenContext(_kind);
        VfioDeviceFile file = _machine.Host.OpenDevice(Simulated.Edu);
        BoundDevice device = file.Bind(context, 1);
        using (ConfigSpace config = device.OpenConfigSpace())
        {
            config.EnableBusMaster();
        }

        IoAddressSpace space = context.CreateAddressSpace();
        ChildAddressSpace child = space.CreateChild();
        Attachment attachment = device.Attach(child);
        using Mapping mapping = space.MapFixed(_machine.Buffer, DmaAccess.Read, 0x10_0000);
        using NestedMapping nested = child.Map(0x20_0000, 0x10_0000, 0x1000, DmaAccess.Read);
        foreach (IDisposable one in (IDisposable[])[context, space, child, file, device])
        {
            one.Dispose();
        }

        Assert.Equal(SpaceMachine.Word(0), _machine.Read(device, 0x20_0000));
        Assert.Throws<ObjectDisposedException>(() => device.Attach(space));
        attachment.Dispose();
    }

    [Fact]
    [Trait("rfc", "3.4-errno mainline legacy")]
    public void What_belongs_to_another_context_or_is_gone_is_refused_before_the_kernel_is_asked()
    {
        using BoundDevice device = _machine.Bind(Simulated.Edu, 1);
        using IommuContext other = _machine.Host.OpenContext(_kind);
        using IoAddressSpace foreign = other.CreateAddressSpace();
        Assert.Throws<ArgumentException>(() => device.Attach(foreign));
        IoAddressSpace gone = _machine.Context.CreateAddressSpace();
        gone.Dispose();
        Assert.Throws<ObjectDisposedException>(() => device.Attach(gone));
        Assert.Throws<ObjectDisposedException>(gone.CreateChild);
    }

    [Fact]
    [Trait("rfc", "KVM_MAP_PASID mainline legacy refused")]
    [Trait("rfc", "1.6-type7 mainline legacy refused")]
    [Trait("rfc", "1.6-type8 mainline legacy refused")]
    [Trait("rfc", "1.6-mixing mainline legacy refused")]
    [Trait("rfc", "3.3-15 mainline legacy refused")]
    [Trait("rfc", "3.5-2 mainline legacy refused")]
    [Trait("rfc", "3.5-3 mainline legacy refused")]
    public void PASIDs_in_CPU_instructions_are_reported_as_absent()
    {
        using BoundDevice device = _machine.Bind(Simulated.Edu, 1);
        Assert.Equal(CpuPasids.None, device.GetCapabilities().CpuPasids);
    }

    [Fact]
    [Trait("rfc", "1.7-policy mainline legacy refused")]
    [Trait("rfc", "1.7-hint mainline legacy refused")]
    [Trait("rfc", "1.7-box3 legacy")]
    [Trait("rfc", "1.7-box4 mainline legacy")]
    public void Snooping_is_the_kernels_choice_and_reported_where_it_is_not_enforced_any_device_attaches()
    {
        using BoundDevice device = _machine.Bind(Simulated.Edu, 1);
        Assert.Equal(false, device.GetCapabilities().EnforcesSnoop);
        Assert.Empty(typeof(IommuContext).GetMethod(nameof(IommuContext.CreateAddressSpace))!.GetParameters());
        using IoAddressSpace space = _machine.Context.CreateAddressSpace();
        using Attachment attachment = device.Attach(space);
    }

    [Fact]
    [Trait("rfc", "3.4-cookie mainline legacy")]
    public void A_cookie_is_unique_in_its_context()
    {
        using BoundDevice device = _machine.Bind(Simulated.Edu, 1);
        using VfioDeviceFile file = _machine.Host.OpenDevice(Simulated.PairFirst);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => file.Bind(_machine.Context, 1));
        Assert.Equal((Errno.EBUSY, FailureCause.DuplicateCookie), (refused.Errno, refused.Cause));
        using IommuContext other = _machine.Host.OpenContext(_kind);
        using BoundDevice again = file.Bind(other, 1);
    }

    [Fact]
    [Trait("rfc", "3.4-depth mainline legacy")]
    public void The_library_nests_without_a_limit_of_its_own()
    {
        IoAddressSpace root = _machine.Context.CreateAddressSpace();
        List<MappedAddressSpace> spaces = [root];
        List<NestedMapping> mappings = [];
        for (ulong level = 1; level <= 12; level++)
        {
            ChildAddressSpace child = spaces[^1].CreateChild();
            mappings.Add(child.Map(0x10_0000 * (level + 1), 0x10_0000 * level, 0x1000, DmaAccess.Read));
            spaces.Add(child);
        }

        using BoundDevice device = _machine.Bind(Simulated.Edu, 1);
        using Attachment attachment = device.Attach(spaces[^1]);
        Mapping mapping = root.Map(_machine.Buffer, 0, 0x1000, DmaAccess.Read, 0x10_0000);
        Assert.Equal((12, SpaceMachine.Word(0)), (spaces[^1].Depth, _machine.Read(device, 0xd0_0000)));
        mapping.Dispose();
        Assert.Null(_machine.Read(device, 0xd0_0000));
        mappings.ForEach(static one => one.Dispose());
        spaces.ForEach(static one => one.Dispose());
    }

    [Fact]
    [Trait("rfc", "1.8-pin-at-attach mainline legacy")]
    public void Pages_are_pinned_and_counted_at_the_first_attach()
    {
        using SpaceMachine limited = new(Topology.Parse("""
        { "name": "limited", "extends": "intel", "process": { "privileged": false, "uid": 0, "memlock": "0x80000" } }
        """), _kind);
        using IoAddressSpace space = limited.Context.CreateAddressSpace();
        using DmaBuffer buffer = limited.Host.AllocateBuffer(0x10_0000);
        using Mapping more = space.MapFixed(buffer, DmaAccess.Read, 0x100_0000); // more than may be locked
        using BoundDevice device = limited.Bind(Simulated.Edu, 1);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => device.Attach(space));
        Assert.Equal(Errno.ENOMEM, refused.Errno);
    }
}
