using IommuFd.HwSim;
using IommuFd.Native;

namespace IommuFd.Tests;

/// <summary>Software nesting over /dev/iommu.</summary>
public sealed class SoftwareNestingOverMainlineTests() : SoftwareNestingTests("intel")
{
    [Fact]
    [Trait("rfc", "1.8-account-once mainline")]
    public void A_child_pins_nothing_again()
    {
        using SpaceMachine machine = new(Limited);
        using IoAddressSpace root = machine.Context.CreateAddressSpace();
        using ChildAddressSpace child = root.CreateChild();
        using DmaBuffer buffer = machine.Host.AllocateBuffer(0x10_0000);
        using Mapping mapping = root.MapFixed(buffer, DmaAccess.ReadWrite, 0);
        using BoundDevice device = machine.Bind(Simulated.Edu, 1), other = machine.Bind(Simulated.PairFirst, 2);
        using Attachment a = device.Attach(child), b = other.Attach(root);
        using NestedMapping nested = child.Map(0x40_0000, 0, 0x10_0000, DmaAccess.ReadWrite);
        Assert.NotNull(machine.Read(device, 0x40_0000) + machine.Read(other, 0));
    }
}

/// <summary>Software nesting over legacy VFIO.</summary>
public sealed class SoftwareNestingOverLegacyTests() : SoftwareNestingTests("legacy-vfio")
{
    [Fact]
    [Trait("rfc", "1.8-account-once legacy refused")]
    public void Every_container_counts_its_own_pins()
    {
        using SpaceMachine machine = new(Limited, ContextKind.Container);
        using IoAddressSpace root = machine.Context.CreateAddressSpace();
        using ChildAddressSpace child = root.CreateChild();
        using DmaBuffer buffer = machine.Host.AllocateBuffer(0x10_0000);
        using BoundDevice device = machine.Bind(Simulated.Edu, 1), other = machine.Bind(Simulated.PairFirst, 2);
        using Attachment a = device.Attach(child), b = other.Attach(root);
        using Mapping mapping = root.MapFixed(buffer, DmaAccess.ReadWrite, 0);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => child.Map(0x40_0000, 0, 0x10_0000, DmaAccess.ReadWrite));
        Assert.Equal((Errno.ENOMEM, FailureCause.LockedMemoryLimit), (refused.Errno, refused.Cause));
        Assert.Contains("each container counts on its own", refused.Message, StringComparison.Ordinal);
        Assert.Empty(child.Mappings);
    }
}

/// <summary>A child whose mappings lead to its parent: one merged table, which follows both levels.</summary>
public abstract class SoftwareNestingTests : IDisposable
{
    /// <summary>1.5 MiB may be locked: 1 MiB once.</summary>
    private protected static Topology Limited { get; } = Topology.Parse("""
        { "name": "limited", "extends": "intel", "process": { "privileged": false, "uid": 0, "memlock": "0x180000" } }
        """);

    private readonly SpaceMachine _machine;
    private readonly IoAddressSpace _root;
    private readonly ChildAddressSpace _child;
    private readonly BoundDevice _device;
    private readonly Attachment _attachment;

    protected SoftwareNestingTests(string topology)
    {
        _machine = new SpaceMachine(topology);
        _root = _machine.Context.CreateAddressSpace();
        _child = _root.CreateChild();
        _device = _machine.Bind(Simulated.Edu, 1);
        _attachment = _device.Attach(_child);
    }

    public void Dispose()
    {
        _attachment.Dispose();
        _child.Dispose();
        _root.Dispose();
        _device.Dispose();
        _machine.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    [Trait("rfc", "1.1-software-nesting mainline legacy")]
    public void A_childs_mapping_leads_to_the_parents_memory()
    {
        using Mapping mapping = _root.MapFixed(_machine.Buffer, DmaAccess.ReadWrite, 0x10_0000);
        NestedMapping nested = _child.Map(0x2000, 0x10_1000, 0x3000, DmaAccess.Read);
        Assert.Equal(SpaceMachine.Word(0x1008), _machine.Read(_device, 0x2008));
        Assert.Equal(SpaceMachine.Word(0x3ff8), _machine.Read(_device, 0x4ff8));
        Assert.Null(_machine.Read(_device, 0x5000));
        Assert.Null(_machine.Read(_device, 0x10_1000));
        nested.Dispose();
        Assert.Null(_machine.Read(_device, 0x2008));
        Assert.Empty(_child.Mappings);
    }

    [Fact]
    [Trait("rfc", "1.1-shadow-follows mainline legacy")]
    public void A_change_of_the_parent_is_visible_to_the_childs_DMA_at_once()
    {
        using NestedMapping nested = _child.Map(0x2000, 0x10_0000, 0x4000, DmaAccess.ReadWrite);
        Assert.Null(_machine.Read(_device, 0x2000));
        Mapping low = _root.Map(_machine.Buffer, 0x8000, 0x2000, DmaAccess.ReadWrite, 0x10_0000);
        Assert.Equal(SpaceMachine.Word(0x8000), _machine.Read(_device, 0x2000));
        Assert.Null(_machine.Read(_device, 0x4000));
        using Mapping high = _root.Map(_machine.Buffer, 0, 0x8000, DmaAccess.ReadWrite, 0x10_2000); // half of it beyond the child's mapping
        Assert.Equal(SpaceMachine.Word(0x1000), _machine.Read(_device, 0x5000));
        Assert.Null(_machine.Read(_device, 0x6000));
        low.Dispose();
        Assert.Null(_machine.Read(_device, 0x2000));
        Assert.Equal(SpaceMachine.Word(0), _machine.Read(_device, 0x4000));
        using Mapping again = _root.Map(_machine.Buffer, 0xa000, 0x1000, DmaAccess.ReadWrite, 0x10_0000);
        Assert.Equal(SpaceMachine.Word(0xa000), _machine.Read(_device, 0x2000));
        Assert.Null(_machine.Read(_device, 0x3000));
    }

    [Fact]
    public void Devices_may_do_what_both_levels_allow()
    {
        using Mapping read = _root.Map(_machine.Buffer, 0, 0x1000, DmaAccess.Read, 0),
            both = _root.Map(_machine.Buffer, 0x1000, 0x1000, DmaAccess.ReadWrite, 0x1000);
        using NestedMapping everything = _child.Map(0x10_0000, 0, 0x2000, DmaAccess.ReadWrite),
            readable = _child.Map(0x20_0000, 0x1000, 0x1000, DmaAccess.Read);
        Assert.False(_machine.Write(_device, 0x10_0000, 1));
        Assert.True(_machine.Write(_device, 0x10_1000, 1));
        Assert.False(_machine.Write(_device, 0x20_0000, 2));
        Assert.Equal(1ul, _machine.Read(_device, 0x20_0000));
    }

    [Fact]
    public void A_change_of_a_root_reaches_grandchildren()
    {
        using ChildAddressSpace grandchild = _child.CreateChild();
        using Attachment below = _device.Attach(grandchild);
        using NestedMapping upper = _child.Map(0x2000, 0x10_0000, 0x1000, DmaAccess.ReadWrite),
            lower = grandchild.Map(0x7000, 0x2000, 0x1000, DmaAccess.ReadWrite);
        Assert.Equal(2, grandchild.Depth);
        Mapping mapping = _root.Map(_machine.Buffer, 0, 0x1000, DmaAccess.ReadWrite, 0x10_0000);
        Assert.Equal(SpaceMachine.Word(0), _machine.Read(_device, 0x7000));
        mapping.Dispose();
        Assert.Null(_machine.Read(_device, 0x7000));
    }

    [Fact]
    public void Two_children_and_two_mappings_of_one_place_all_follow()
    {
        using ChildAddressSpace other = _root.CreateChild();
        using BoundDevice second = _machine.Bind(Simulated.PairFirst, 2);
        using Attachment attachment = second.Attach(other);
        using NestedMapping a = _child.Map(0x1000, 0, 0x1000, DmaAccess.Read), b = _child.Map(0x5000, 0, 0x1000, DmaAccess.Read),
            c = other.Map(0x9000, 0, 0x1000, DmaAccess.Read);
        Mapping mapping = _root.Map(_machine.Buffer, 0x3000, 0x1000, DmaAccess.Read, 0);
        Assert.Equal([SpaceMachine.Word(0x3000), SpaceMachine.Word(0x3000), SpaceMachine.Word(0x3000)],
            [_machine.Read(_device, 0x1000), _machine.Read(_device, 0x5000), _machine.Read(second, 0x9000)]);
        mapping.Dispose();
        Assert.Equal([null, null, null], new[] { _machine.Read(_device, 0x1000), _machine.Read(_device, 0x5000), _machine.Read(second, 0x9000) });
    }

    [Fact]
    [Trait("rfc", "3.3-13 mainline legacy")]
    public void A_child_takes_over_while_the_parent_stays_attached_and_gives_back()
    {
        using Mapping mapping = _root.MapFixed(_machine.Buffer, DmaAccess.ReadWrite, 0);
        using BoundDevice device = _machine.Bind(Simulated.PairFirst, 2);
        using ChildAddressSpace child = _root.CreateChild();
        using NestedMapping nested = child.Map(0x80_0000, 0x4000, 0x1000, DmaAccess.Read);
        using Attachment parent = device.Attach(_root);
        Attachment below = device.Attach(child);
        Assert.Equal((null, SpaceMachine.Word(0x4000)), (_machine.Read(device, 0x4000), _machine.Read(device, 0x80_0000)));
        below.Dispose();
        Assert.Equal((SpaceMachine.Word(0x4000), null), (_machine.Read(device, 0x4000), _machine.Read(device, 0x80_0000)));
    }

    [Fact]
    [Trait("rfc", "3.3-14 mainline legacy")]
    public void A_child_may_be_attached_without_its_parent_which_then_does_not_take_over()
    {
        using Mapping mapping = _root.MapFixed(_machine.Buffer, DmaAccess.ReadWrite, 0);
        using NestedMapping nested = _child.Map(0x80_0000, 0x4000, 0x1000, DmaAccess.Read);
        using Attachment parent = _device.Attach(_root);
        Assert.Equal((null, SpaceMachine.Word(0x4000)), (_machine.Read(_device, 0x4000), _machine.Read(_device, 0x80_0000)));
        _attachment.Dispose();
        Assert.Equal(SpaceMachine.Word(0x4000), _machine.Read(_device, 0x4000));
    }

    [Fact]
    [Trait("rfc", "3.4-reattach mainline legacy")]
    public void Attaching_what_is_attached_is_EINVAL_and_an_unrelated_space_replaces()
    {
        Assert.Equal(Errno.EINVAL, Assert.Throws<IommuFdException>(() => _device.Attach(_child)).Errno);
        using IoAddressSpace unrelated = _machine.Context.CreateAddressSpace();
        using Mapping mapping = unrelated.MapFixed(_machine.Buffer, DmaAccess.ReadWrite, 0);
        using Attachment replaced = _device.Attach(unrelated);
        Assert.Equal(SpaceMachine.Word(0), _machine.Read(_device, 0));
    }

    [Fact]
    [Trait("rfc", "3.4-detach-parent mainline legacy")]
    public void Detaching_the_parent_leaves_the_child_in_effect_and_block_DMA_behind_it()
    {
        using Mapping mapping = _root.MapFixed(_machine.Buffer, DmaAccess.ReadWrite, 0);
        using NestedMapping nested = _child.Map(0x80_0000, 0x4000, 0x1000, DmaAccess.Read);
        _device.Attach(_root).Dispose();
        Assert.Equal(SpaceMachine.Word(0x4000), _machine.Read(_device, 0x80_0000));
        _attachment.Dispose();
        Assert.Equal((null, null), (_machine.Read(_device, 0x4000), _machine.Read(_device, 0x80_0000)));
    }

    [Fact]
    public void Mappings_that_meet_are_EEXIST_and_unaligned_ones_EINVAL()
    {
        using NestedMapping nested = _child.Map(0x2000, 0, 0x2000, DmaAccess.Read);
        Assert.Equal(FailureCause.IovaTaken, Assert.Throws<IommuFdException>(() => _child.Map(0x3000, 0x8000, 0x1000, DmaAccess.Read)).Cause);
        Assert.Equal(FailureCause.IovaTaken, Assert.Throws<IommuFdException>(() => _child.Map(0x1000, 0x8000, 0x2000, DmaAccess.Read)).Cause);
        Assert.Equal(FailureCause.IovaNotPermitted, Assert.Throws<IommuFdException>(() => _child.Map(0x8000, 0x10, 0x1000, DmaAccess.Read)).Cause);
        IommuFdException outside = Assert.Throws<IommuFdException>(() => _child.Map(0xfee0_0000, 0, 0x1000, DmaAccess.Read));
        Assert.Equal((Errno.EINVAL, FailureCause.IovaNotPermitted), (outside.Errno, outside.Cause));
        using NestedMapping below = _child.Map(0x1000, 0x8000, 0x1000, DmaAccess.Read), above = _child.Map(0x4000, 0x8000, 0x1000, DmaAccess.Read);
        Assert.Equal([0x1000ul, 0x2000ul, 0x4000ul], _child.Mappings.Select(static mapping => mapping.Iova));
    }

    [Fact]
    [Trait("rfc", "1.1-dummy mainline legacy")]
    public void A_dummy_root_is_an_identity_that_nothing_is_attached_to()
    {
        using IoAddressSpace dummy = _machine.Context.CreateAddressSpace();
        using ChildAddressSpace gpa = dummy.CreateChild();
        ulong address = (ulong)_machine.Buffer.Address;
        using Mapping identity = dummy.MapFixed(_machine.Buffer, DmaAccess.ReadWrite, address);
        using BoundDevice device = _machine.Bind(Simulated.PairFirst, 2);
        using Attachment attachment = device.Attach(gpa);
        using NestedMapping memory = gpa.Map(0, address, 0x10000, DmaAccess.ReadWrite);
        Assert.Equal(SpaceMachine.Word(0x4008), _machine.Read(device, 0x4008));
    }

    [Fact]
    public void Everything_may_be_disposed_in_any_order()
    {
        foreach (int seed in Enumerable.Range(0, 60))
        {
            DmaBuffer buffer = _machine.Host.AllocateBuffer(0x2000);
            IoAddressSpace root = _machine.Context.CreateAddressSpace();
            ChildAddressSpace child = root.CreateChild();
            BoundDevice device = _machine.Bind(Simulated.PairFirst, 7);
            List<IDisposable> all = [buffer, root, child, device, root.MapFixed(buffer, DmaAccess.ReadWrite, 0),
                child.Map(0x4000, 0, 0x2000, DmaAccess.Read), device.Attach(root), device.Attach(child)];
            Random random = new(seed);
            foreach (IDisposable one in all.OrderBy(_ => random.Next()).ToArray())
            {
                one.Dispose();
            }
        }
    }
}
