using IommuFd.Native;
using Xunit;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>The proposal's concepts as behaviour.</summary>
public sealed unsafe class ConceptTests : RfcTest
{
    [Fact]
    [Trait("rfc", "1.1-ioasid")]
    [Trait("rfc", "1.2-rid")]
    [Trait("rfc", "4.1")]
    public void Devices_of_several_requester_ids_share_one_ioasid()
    {
        int edu = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), nic = _machine.OpenBound(RfcMachine.Nic, _iommu, 2), gpa = _machine.Alloc(_iommu);
        ulong memory = _machine.Memory(1 << 20);
        Assert.Equal(0, _machine.Attach(edu, _iommu, gpa));
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0, memory, 1 << 20));
        Assert.Equal(0, _machine.Attach(nic, _iommu, gpa));
        Assert.True(_machine.DmaWrite(RfcMachine.Edu, 0x1234 * 8, 0xabcd));
        Assert.Equal(0xabcdUL, *(ulong*)(memory + (0x1234 * 8)));
        Assert.Equal(0xabcdUL, _machine.DmaRead(RfcMachine.Nic, 0x1234 * 8));
    }

    [Fact]
    [Trait("rfc", "1.1-roots")]
    [Trait("rfc", "4.2")]
    public void Several_roots_in_one_file_are_apart_and_each_counts_its_pages()
    {
        int edu = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), nic = _machine.OpenBound(RfcMachine.Nic, _iommu, 2);
        int gpa = _machine.Alloc(_iommu), giova = _machine.Alloc(_iommu);
        ulong memory = _machine.Memory(4 * Page, 1);
        Assert.Equal(0, _machine.Attach(edu, _iommu, gpa));
        Assert.Equal(0, _machine.Attach(nic, _iommu, gpa));
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0, memory, 4 * Page));
        Assert.Equal(4UL, _machine.PinnedPages);
        Assert.Equal(0, _machine.Detach(nic, _iommu, gpa));
        Assert.Equal(0, _machine.Attach(nic, _iommu, giova));
        *(ulong*)(memory + Page) = 2;
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x2000, memory + Page, Page));
        Assert.Equal(2UL, _machine.DmaRead(RfcMachine.Nic, 0x2000));
        Assert.Null(_machine.DmaRead(RfcMachine.Nic, 0));
        Assert.Equal(1UL, _machine.DmaRead(RfcMachine.Edu, 0));
        Assert.Equal(5UL, _machine.PinnedPages);
    }

    [Fact]
    [Trait("rfc", "1.1-software-nesting")]
    [Trait("rfc", "1.8-account-once")]
    [Trait("rfc", "4.3")]
    public void Software_nesting_merges_both_levels_and_counts_pages_once()
    {
        int edu = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), nic = _machine.OpenBound(RfcMachine.Nic, _iommu, 2);
        int gpa = _machine.Alloc(_iommu), giova = _machine.Alloc(_iommu, gpa);
        ulong memory = _machine.Memory(1 << 20);
        *(ulong*)(memory + 0x1000) = 0x77;
        Assert.Equal(0, _machine.Attach(edu, _iommu, gpa));
        Assert.Equal(0, _machine.Attach(nic, _iommu, gpa));
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0, memory, 1 << 20));
        Assert.Equal(0, _machine.Attach(nic, _iommu, giova));
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x2000, 0x1000, Page));
        Assert.Equal(0x77UL, _machine.DmaRead(RfcMachine.Nic, 0x2000));
        Assert.Null(_machine.DmaRead(RfcMachine.Nic, 0x1000));
        Assert.Equal(0x77UL, _machine.DmaRead(RfcMachine.Edu, 0x1000));
        Assert.Equal(256UL, _machine.PinnedPages);
        Assert.Equal((long)Page, _machine.Unmap(_iommu, giova, 0x2000, Page));
        Assert.Null(_machine.DmaRead(RfcMachine.Nic, 0x2000));
        Assert.Equal(256UL, _machine.PinnedPages);
    }

    [Fact]
    [Trait("rfc", "1.1-shadow-follows")]
    public void A_parents_unmap_and_map_are_visible_to_the_childs_DMA_at_once()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), gpa = _machine.Alloc(_iommu), giova = _machine.Alloc(_iommu, gpa);
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x1000, _machine.Memory(Page, 1), Page));
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x2000, _machine.Memory(Page, 2), Page));
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x10000, 0x1000, 3 * Page));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(1UL, _machine.DmaRead(RfcMachine.Edu, 0x10000));
        Assert.Equal(2UL, _machine.DmaRead(RfcMachine.Edu, 0x11000));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x12000));

        Assert.Equal((long)Page, _machine.Unmap(_iommu, gpa, 0x1000, Page));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x10000));
        Assert.Equal(2UL, _machine.DmaRead(RfcMachine.Edu, 0x11000));
        Assert.Equal(1UL, _machine.PinnedPages);

        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x1000, _machine.Memory(Page, 11), Page));
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x3000, _machine.Memory(Page, 13), Page));
        Assert.Equal(11UL, _machine.DmaRead(RfcMachine.Edu, 0x10000));
        Assert.Equal(13UL, _machine.DmaRead(RfcMachine.Edu, 0x12000));
    }

    [Fact]
    [Trait("rfc", "1.1-shadow-follows")]
    public void A_change_of_a_root_reaches_grandchildren()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        int root = _machine.Alloc(_iommu), gpa = _machine.Alloc(_iommu, root), giova = _machine.Alloc(_iommu, gpa);
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x30000, 0x20000, 2 * Page));
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x20000, 0x10000, 2 * Page));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x31000));
        Assert.Equal(0, _machine.Map(_iommu, root, 0x11000, _machine.Memory(Page, 4), Page));
        Assert.Equal(4UL, _machine.DmaRead(RfcMachine.Edu, 0x31000));
        Assert.Equal((long)Page, _machine.Unmap(_iommu, root, 0x11000, Page));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x31000));
    }

    [Fact]
    [Trait("rfc", "1.1-software-nesting")]
    public void A_shadow_permits_what_both_levels_permit()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), gpa = _machine.Alloc(_iommu), giova = _machine.Alloc(_iommu, gpa);
        Assert.Equal(0, _machine.Map(_iommu, gpa, 0x1000, _machine.Memory(Page, 1), Page, flags: 1));
        Assert.Equal(0, _machine.Map(_iommu, giova, 0x10000, 0x1000, Page, flags: 3));
        Assert.Equal(0, _machine.Attach(device, _iommu, giova));
        Assert.Equal(1UL, _machine.DmaRead(RfcMachine.Edu, 0x10000));
        Assert.False(_machine.DmaWrite(RfcMachine.Edu, 0x10000, 2));
    }

    [Fact]
    [Trait("rfc", "1.1-fds")]
    public void A_device_may_be_bound_to_several_files_but_its_requester_id_has_one_space_and_a_parent_is_of_the_same_file()
    {
        int other = _machine.OpenIommu(), device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1);
        Assert.Equal(0, _machine.Bind(device, other, 99));
        int here = _machine.Alloc(_iommu), there = _machine.Alloc(other);
        Assert.Equal(0, _machine.Attach(device, _iommu, here));
        Assert.Equal(-Errno.EBUSY, _machine.Attach(device, other, there));
        Assert.Equal(0, _machine.Detach(device, _iommu, here));
        Assert.Equal(0, _machine.Attach(device, other, there));
        _ = _machine.Alloc(_iommu);
        Assert.Equal(-Errno.EINVAL, _machine.Alloc(other, parent: 1));
    }

    [Fact]
    [Trait("rfc", "1.3-block-dma")]
    public void Block_dma_is_an_empty_table_for_the_whole_group_and_not_the_default_address_space()
    {
        _machine.BindVfio(RfcMachine.PairB);
        int first = _machine.OpenBound(RfcMachine.PairA, _iommu, 1), ioasid = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.Map(_iommu, ioasid, 0x1000, _machine.Memory(Page, 1), Page));
        Assert.Null(_machine.DmaRead(RfcMachine.PairA, 0x1000));
        Assert.Null(_machine.DmaRead(RfcMachine.PairB, 0x1000));
        Assert.Equal(0, _machine.Attach(first, _iommu, ioasid));
        Assert.NotSame(_machine.Group(RfcMachine.PairA).BlockingDomain, _machine.Group(RfcMachine.PairA).Domain);
        Assert.Equal(1UL, _machine.DmaRead(RfcMachine.PairA, 0x1000));
    }

    [Fact]
    [Trait("rfc", "1.8-pin-at-attach")]
    public void Pages_are_pinned_at_the_first_attach_and_let_go_with_the_last_detach()
    {
        int device = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), ioasid = _machine.Alloc(_iommu);
        Assert.Equal(0, _machine.Map(_iommu, ioasid, 0, _machine.Memory(8 * Page), 8 * Page));
        Assert.Equal(0UL, _machine.PinnedPages);
        Assert.Equal(0, _machine.Attach(device, _iommu, ioasid));
        Assert.Equal(8UL, _machine.PinnedPages);
        Assert.Equal(0, _machine.Detach(device, _iommu, ioasid));
        Assert.Equal(0UL, _machine.PinnedPages);
    }

    [Fact]
    [Trait("rfc", "1.1-dummy")]
    [Trait("rfc", "1.8-account-once")]
    public void A_dummy_root_is_an_identity_that_is_never_attached_and_counts_the_pages_of_all_its_children()
    {
        int edu = _machine.OpenBound(RfcMachine.Edu, _iommu, 1), nic = _machine.OpenBound(RfcMachine.Nic, _iommu, 2);
        ulong memory = _machine.Memory(16 * Page, 5);
        int dummy = _machine.Alloc(_iommu, width: 64);
        Assert.Equal(-Errno.EINVAL, _machine.Attach(edu, _iommu, dummy));
        int[] gpas = [_machine.Alloc(_iommu, dummy), _machine.Alloc(_iommu, dummy)];
        Assert.Equal(0, _machine.Map(_iommu, dummy, memory, memory, 16 * Page));
        Assert.Equal(0, _machine.Map(_iommu, gpas[0], 0, memory, 16 * Page));
        Assert.Equal(0, _machine.Map(_iommu, gpas[1], 0x10_0000, memory, 16 * Page));
        Assert.Equal(0, _machine.Attach(edu, _iommu, gpas[0]));
        Assert.Equal(0, _machine.Attach(nic, _iommu, gpas[1]));
        Assert.Equal(5UL, _machine.DmaRead(RfcMachine.Edu, 0));
        Assert.Equal(5UL, _machine.DmaRead(RfcMachine.Nic, 0x10_0000));
        Assert.Equal(16UL, _machine.PinnedPages);
        Assert.Equal((long)(16 * Page), _machine.Unmap(_iommu, dummy, memory, 16 * Page));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0));
        Assert.Equal(0UL, _machine.PinnedPages);
    }

    [Fact]
    [Trait("rfc", "1.8-account-once")]
    public void Beyond_the_limit_of_locked_memory_attach_and_map_are_ENOMEM_and_children_cost_nothing()
    {
        using var machine = new RfcMachine(IommuFd.HwSim.Topology.Parse("""
            { "name": "small", "extends": "rfc", "process": { "privileged": false, "uid": 0, "memlock": 65536 } }
            """));
        int iommu = machine.OpenIommu(), device = machine.OpenBound(RfcMachine.Edu, iommu, 1);
        int gpa = machine.Alloc(iommu), giova = machine.Alloc(iommu, gpa);
        ulong memory = machine.Memory(17 * Page);
        Assert.Equal(0, machine.Map(iommu, gpa, 0, memory, 16 * Page));
        Assert.Equal(0, machine.Map(iommu, giova, 0x10_0000, 0, 16 * Page));
        Assert.Equal(0, machine.Attach(device, iommu, gpa));
        Assert.Equal(0, machine.Attach(device, iommu, giova));
        Assert.Equal(16UL, machine.ChargedPages);
        Assert.Equal(-Errno.ENOMEM, machine.Map(iommu, gpa, 0x100_0000, memory + (16 * Page), Page));
        Assert.Equal(16UL, machine.ChargedPages);
    }

    [Fact]
    [Trait("rfc", "1.1-shadow-follows")]
    public void A_map_of_the_parent_that_a_shadow_cannot_follow_is_undone()
    {
        using var machine = new RfcMachine(IommuFd.HwSim.Topology.Parse("""
            { "name": "small", "extends": "rfc", "process": { "privileged": false, "uid": 0, "memlock": 16384 } }
            """));
        int iommu = machine.OpenIommu(), device = machine.OpenBound(RfcMachine.Edu, iommu, 1), gpa = machine.Alloc(iommu),
            giova = machine.Alloc(iommu, gpa);
        ulong memory = machine.Memory(8 * Page, 1);
        Assert.Equal(0, machine.Map(iommu, giova, 0x10_0000, 0, 16 * Page));
        Assert.Equal(0, machine.Attach(device, iommu, giova));
        Assert.Equal(0, machine.Map(iommu, gpa, 0, memory, 4 * Page));
        Assert.Equal(-Errno.ENOMEM, machine.Map(iommu, gpa, 4 * Page, memory + (4 * Page), Page));
        Assert.Equal(1UL, machine.DmaRead(RfcMachine.Edu, 0x10_0000));
        Assert.Null(machine.DmaRead(RfcMachine.Edu, 0x10_4000));
        Assert.Equal(4UL, machine.ChargedPages);
        Assert.Equal((long)(4 * Page), machine.Unmap(iommu, gpa, 0, 4 * Page));
        Assert.Equal(0, machine.Map(iommu, gpa, 4 * Page, memory + (4 * Page), Page));
        Assert.Equal(0UL, machine.DmaRead(RfcMachine.Edu, 0x10_4000));
    }

    [Fact]
    [Trait("rfc", "1.2-rid")]
    public void A_virtual_function_has_a_requester_id_and_a_space_of_its_own()
    {
        Assert.True(_machine.Host.Sysfs.WriteText($"/sys/bus/pci/devices/{RfcMachine.Nic}/sriov_numvfs", "2") >= 0);
        int first = _machine.OpenBound("0000:01:10.0", _iommu, 1), second = _machine.OpenBound("0000:01:10.2", _iommu, 2);
        int[] spaces = [_machine.Alloc(_iommu), _machine.Alloc(_iommu)];
        Assert.Equal(0, _machine.Map(_iommu, spaces[0], 0, _machine.Memory(Page, 10), Page));
        Assert.Equal(0, _machine.Map(_iommu, spaces[1], 0, _machine.Memory(Page, 12), Page));
        Assert.Equal(0, _machine.Attach(first, _iommu, spaces[0]));
        Assert.Equal(0, _machine.Attach(second, _iommu, spaces[1]));
        Assert.Equal(10UL, _machine.DmaRead("0000:01:10.0", 0));
        Assert.Equal(12UL, _machine.DmaRead("0000:01:10.2", 0));
        Assert.Equal(0, _machine.Kernel.Close(first));
        Assert.NotEqual(10UL, _machine.DmaRead("0000:01:10.0", 0));
    }
}
