namespace IommuFd.Tests;

/// <summary>Objects may be disposed in any order; the kernel sees one that works.</summary>
public sealed class DisposeOrderTests
{
    [Fact]
    public void All_720_orders_reach_the_kernel_as_unmap_detach_destroy_close()
    {
        foreach (int[] order in Permutations(6))
        {
            FakeMachine machine = new();
            IommuContext context = machine.Host.OpenContext();
            BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
            IoAddressSpace space = context.CreateAddressSpace();
            Attachment attachment = device.Attach(space);
            DmaBuffer buffer = machine.Host.AllocateBuffer(4096);
            Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);
            IDisposable[] objects = [context, device, space, attachment, buffer, mapping];
            machine.Calls.Clear();

            foreach (int index in order)
            {
                objects[index].Dispose();
            }

            string shown = $"order {string.Join(' ', order)}: {string.Join(", ", machine.Calls)}";
            Before(machine, "IOMMU_IOAS_UNMAP", "munmap", shown);
            Before(machine, "IOMMU_IOAS_UNMAP", "IOMMU_DESTROY", shown);
            Before(machine, "VFIO_DEVICE_DETACH_IOMMUFD_PT", "IOMMU_DESTROY", shown);
            Before(machine, "VFIO_DEVICE_DETACH_IOMMUFD_PT", "close /dev/vfio/devices/vfio0", shown);
            Before(machine, "IOMMU_DESTROY", "close /dev/iommu", shown);
            Before(machine, "close /dev/vfio/devices/vfio0", "close /dev/iommu", shown);
            Assert.True(machine.StillOpen.Count == 0, shown);
        }
    }

    [Fact]
    public void A_buffer_is_not_freed_while_an_IOVA_points_at_it()
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using IoAddressSpace space = context.CreateAddressSpace();
        DmaBuffer buffer = machine.Host.AllocateBuffer(4096);
        Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);

        buffer.Dispose();
        Assert.DoesNotContain("munmap", machine.Calls);

        mapping.Dispose();
        Assert.Equal(["IOMMU_IOAS_UNMAP", "munmap"], machine.Calls[^2..]);
    }

    [Fact]
    public void Memory_that_cannot_be_unmapped_stays()
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using IoAddressSpace space = context.CreateAddressSpace();
        DmaBuffer buffer = machine.Host.AllocateBuffer(4096);
        Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);
        machine.Fail(Native.Uapi.Iommufd.IOMMU_IOAS_UNMAP, Native.Errno.EBUSY);

        mapping.Dispose();
        buffer.Dispose();

        Assert.DoesNotContain("munmap", machine.Calls);
    }

    [Fact]
    public void A_mapped_BAR_keeps_the_binding()
    {
        FakeMachine machine = new();
        IommuContext context = machine.Host.OpenContext();
        BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
        Bar bar = device.OpenBar(0);

        device.Dispose();
        context.Dispose();
        Assert.Equal(0u, bar.Read32(0));
        Assert.DoesNotContain("close /dev/vfio/devices/vfio0", machine.Calls);

        bar.Dispose();
        Assert.Equal(["close /dev/vfio/devices/vfio0", "close /dev/iommu"], machine.Calls[^2..]);
    }

    [Fact]
    public void Disposing_an_attachment_returns_the_device_to_block_DMA_and_the_ranges_are_asked_again_when_wanted()
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.OpenDevice().Bind(context, cookie: 1);
        using IoAddressSpace space = context.CreateAddressSpace();
        Attachment attachment = device.Attach(space);
        Assert.NotEqual([new IovaRange(0, 0xfff)], space.PermittedRanges);
        machine.Ranges = [new IovaRange(0, 0xfff)];

        attachment.Dispose();

        Assert.Equal("VFIO_DEVICE_DETACH_IOMMUFD_PT", machine.Calls[^1]);
        Assert.Equal([new IovaRange(0, 0xfff)], space.PermittedRanges);
        Assert.Equal(["VFIO_DEVICE_DETACH_IOMMUFD_PT", "IOMMU_IOAS_IOVA_RANGES"], machine.Calls[^2..]);
        Assert.Equal([new IovaRange(0, 0xfff)], space.PermittedRanges);
        Assert.Equal("VFIO_DEVICE_DETACH_IOMMUFD_PT", machine.Calls[^2]); // once
    }

    [Fact]
    public void Disposing_twice_and_from_many_threads_releases_once()
    {
        FakeMachine machine = new();
        IommuContext context = machine.Host.OpenContext();
        IoAddressSpace space = context.CreateAddressSpace();

        Parallel.For(0, 16, _ => space.Dispose());
        Parallel.For(0, 16, _ => context.Dispose());

        Assert.Equal(["IOMMU_DESTROY", "close /dev/iommu"], machine.Calls[^2..]);
        Assert.Equal(1, machine.Calls.Count(static call => call == "IOMMU_DESTROY"));
    }

    [Fact]
    public void Use_after_dispose_is_an_ObjectDisposedException()
    {
        FakeMachine machine = new();
        IommuContext context = machine.Host.OpenContext();
        IoAddressSpace space = context.CreateAddressSpace();
        DmaBuffer buffer = machine.Host.AllocateBuffer(4096);
        buffer.Dispose();
        space.Dispose();
        context.Dispose();

        Assert.Throws<ObjectDisposedException>(() => buffer.Span.Length);
        Assert.Throws<ObjectDisposedException>(() => space.Map(buffer, DmaAccess.Read));
        Assert.Throws<ObjectDisposedException>(() => context.CreateAddressSpace());
    }

    [Fact]
    public void A_cookie_can_be_used_again_after_the_unbind()
    {
        FakeMachine machine = new();
        using IommuContext context = machine.Host.OpenContext();
        machine.OpenDevice().Bind(context, cookie: 7).Dispose();
        machine.OpenDevice().Bind(context, cookie: 7).Dispose();
    }

    private static void Before(FakeMachine machine, string first, string second, string shown) =>
        Assert.True(machine.Calls.IndexOf(first) >= 0 && machine.Calls.IndexOf(first) < machine.Calls.IndexOf(second),
            $"{first} before {second}: {shown}");

    private static IEnumerable<int[]> Permutations(int count)
    {
        if (count == 1)
        {
            return [[0]];
        }

        return Permutations(count - 1)
            .SelectMany(shorter => Enumerable.Range(0, count).Select(at => (int[])[.. shorter[..at], count - 1, .. shorter[at..]]));
    }
}
