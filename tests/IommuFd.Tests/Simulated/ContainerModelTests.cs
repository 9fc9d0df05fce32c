using IommuFd.Native;

namespace IommuFd.Tests;

/// <summary>The model over legacy VFIO: address spaces, attachments and block-DMA, made of one container for each group.</summary>
public sealed class ContainerModelTests : IDisposable
{
    private readonly Simulated _machine = new("legacy-vfio");
    private readonly IommuContext _context;
    private readonly DmaBuffer _buffer;

    public ContainerModelTests()
    {
        _context = _machine.Host.OpenContext();
        _buffer = _machine.Host.AllocateBuffer(0x2000);
    }

    public void Dispose()
    {
        _buffer.Dispose();
        _context.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void Mappings_made_before_and_after_the_attach_both_reach_the_container()
    {
        using BoundDevice device = Bind(Simulated.Edu, 1);
        using IoAddressSpace space = _context.CreateAddressSpace();
        using Mapping before = space.Map(_buffer, 0, 0x1000, DmaAccess.Read, null);
        Attachment attachment = device.Attach(space);
        using Mapping after = space.Map(_buffer, 0x1000, 0x1000, DmaAccess.ReadWrite, null);
        Assert.NotEqual(before.Iova, after.Iova);
        Assert.NotEmpty(space.PermittedRanges);
        attachment.Dispose();
        using Attachment again = device.Attach(space);
        Assert.Equal(FailureCause.IovaTaken, Assert.Throws<IommuFdException>(() => space.MapFixed(_buffer, DmaAccess.Read, before.Iova)).Cause);
    }

    [Fact]
    public void A_group_has_one_address_space()
    {
        using BoundDevice first = Bind(Simulated.PairFirst, 1), second = Bind(Simulated.PairSecond, 2);
        using IoAddressSpace one = _context.CreateAddressSpace(), other = _context.CreateAddressSpace();
        using Attachment attachment = first.Attach(one);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => second.Attach(other));
        Assert.Equal((Errno.EINVAL, FailureCause.GroupTableDiffers), (refused.Errno, refused.Cause));
        using Attachment same = second.Attach(one);
    }

    [Fact]
    public void Two_groups_share_an_address_space()
    {
        using BoundDevice first = Bind(Simulated.Edu, 1), second = Bind(Simulated.PairFirst, 2);
        using IoAddressSpace space = _context.CreateAddressSpace();
        using Attachment a = first.Attach(space), b = second.Attach(space);
        Mapping mapping = space.Map(_buffer, DmaAccess.ReadWrite);
        mapping.Dispose();
        using Mapping again = space.MapFixed(_buffer, DmaAccess.ReadWrite, mapping.Iova);
    }

    [Fact]
    public void The_group_can_be_bound_again_after_the_last_device_of_it_is_gone()
    {
        for (int i = 0; i < 3; i++)
        {
            BoundDevice device = Bind(Simulated.Edu, 1);
            IoAddressSpace space = _context.CreateAddressSpace();
            Attachment attachment = device.Attach(space);
            device.Dispose();
            space.Dispose();
            attachment.Dispose();
        }
    }

    [Fact]
    public void A_second_context_finds_the_group_taken()
    {
        using BoundDevice device = Bind(Simulated.Edu, 1);
        using IommuContext other = _machine.Host.OpenContext(ContextKind.Container);
        using VfioDeviceFile file = _machine.Host.OpenDevice(Simulated.Edu);
        Assert.Equal(FailureCause.DeviceBusy, Assert.Throws<IommuFdException>(() => file.Bind(other, 1)).Cause);
    }

    [Fact]
    public void A_kernel_with_both_can_be_used_through_containers()
    {
        using Simulated both = new("intel");
        using IommuContext context = both.Host.OpenContext(ContextKind.Container);
        using BoundDevice device = both.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        using IoAddressSpace space = context.CreateAddressSpace();
        using Attachment attachment = device.Attach(space);
        Assert.True(device.Calls.GetInfo().IsPci);
    }

    [Fact]
    public void A_device_without_character_device_is_refused_by_iommufd_with_the_way_out()
    {
        using Simulated machine = new("broken-no-cdev");
        using IommuContext context = machine.Host.OpenContext();
        using VfioDeviceFile file = machine.Host.OpenDevice(Simulated.Edu);
        IommuFdException refused = Assert.Throws<IommuFdException>(() => file.Bind(context, 1));
        Assert.Equal(FailureCause.NoCharacterDevice, refused.Cause);
        using IommuContext containers = machine.Host.OpenContext(ContextKind.Container);
        using BoundDevice device = file.Bind(containers, 1);
    }

    private BoundDevice Bind(Sysfs.PciAddress address, ulong cookie) => _machine.Host.OpenDevice(address).Bind(_context, cookie);
}
