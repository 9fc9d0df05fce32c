namespace IommuFd.Tests;

/// <summary>Nothing else may open descriptors while these tests count them.</summary>
[CollectionDefinition("counts open descriptors", DisableParallelization = true)]
public sealed class DescriptorCount;

/// <summary>The object graph against the simulated kernel, which refuses what the real one refuses.</summary>
[Collection("counts open descriptors")]
public sealed class LifetimeTests
{
    [Fact]
    public void Every_order_of_disposal_leaves_no_descriptor_and_a_device_that_can_be_bound_again()
    {
        using Simulated machine = new();
        Round(machine, [0, 1, 2, 3, 4, 5, 6, 7]);
        int before = OpenDescriptors();
        Random random = new(7);
        int[] order = [0, 1, 2, 3, 4, 5, 6, 7];
        for (int i = 0; i < 200; i++)
        {
            random.Shuffle(order);
            Round(machine, order);
        }

        Assert.InRange(OpenDescriptors(), 0, before + 9); // the runtime opens some of its own; a leak would be one a round
    }

    [Fact]
    public void A_thousand_rounds_of_bind_attach_map_and_back_leak_nothing()
    {
        using Simulated machine = new();
        Round(machine, [7, 6, 5, 4, 3, 2, 1, 0]);
        int before = OpenDescriptors();
        for (int i = 0; i < 1000; i++)
        {
            Round(machine, [7, 6, 5, 4, 3, 2, 1, 0]);
        }

        Assert.InRange(OpenDescriptors(), 0, before + 9); // the runtime opens some of its own; a leak would be one a round
    }

    [Fact]
    public void Map_unmap_and_every_other_ioctl_of_level_1_allocate_nothing()
    {
        using Simulated machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using Ioas ioas = context.AllocateIoas();
        using DmaBuffer buffer = machine.Host.AllocateBuffer(4096);
        Work(1000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Work(1000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Work(int rounds)
        {
            for (int i = 0; i < rounds; i++)
            {
                ulong iova = ioas.Map(buffer.Address, 4096, DmaAccess.ReadWrite);
                _ = ioas.TryMapFixed(buffer.Address, 4096, DmaAccess.ReadWrite, iova, out _);
                _ = ioas.Unmap(iova, 4096);
                _ = ioas.TryUnmap(iova, 4096, out _, out _);
                _ = ioas.GetHugePages();
            }
        }
    }

    [Theory]
    [InlineData("intel")]
    [InlineData("intel-scalable")]
    [InlineData("amd")]
    [InlineData("arm-smmuv3")]
    [InlineData("riscv")]
    public void Map_and_unmap_with_a_device_attached_allocate_nothing(string topology)
    {
        using Simulated machine = new(topology);
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        using IoAddressSpace space = context.CreateAddressSpace();
        using Attachment attachment = device.Attach(space);
        using DmaBuffer buffer = machine.Host.AllocateBuffer(64 * 4096);
        Work(1000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Work(1000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Work(int rounds)
        {
            for (int i = 0; i < rounds; i++)
            {
                _ = space.Ioas.Unmap(space.Ioas.Map(buffer.Address, 64 * 4096, DmaAccess.ReadWrite), 64 * 4096);
            }
        }
    }

    [Fact]
    public void An_interrupt_wait_allocates_nothing()
    {
        using Simulated machine = new();
        using IommuContext context = machine.Host.OpenContext();
        using BoundDevice device = machine.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        using Bar bar = device.OpenBar(0);
        using InterruptSet interrupts = device.EnableInterrupts(InterruptKind.Msi);
        ulong fired = Fire(100);
        long before = GC.GetAllocatedBytesForCurrentThread();
        fired += Fire(1000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(1100u, fired);

        ulong Fire(int rounds)
        {
            ulong count = 0;
            for (int i = 0; i < rounds; i++)
            {
                bar.Write32(0x60, 1);
                count += interrupts[0].Wait(Timeout.InfiniteTimeSpan);
                bar.Write32(0x64, 1);
            }

            return count;
        }
    }

    [Fact]
    public void Threads_that_bind_attach_map_and_dispose_at_once_end_clean()
    {
        using Simulated machine = new();
        using IommuContext context = machine.Host.OpenContext();
        Parallel.For(0, 8, new ParallelOptions { MaxDegreeOfParallelism = 4 }, number =>
        {
            for (int i = 0; i < 50; i++)
            {
                using IoAddressSpace space = context.CreateAddressSpace();
                DmaBuffer buffer = machine.Host.AllocateBuffer(8192);
                Mapping[] mappings = [space.Map(buffer, DmaAccess.ReadWrite), space.Map(buffer, DmaAccess.Read)];
                Assert.NotEqual(mappings[0].Iova, mappings[1].Iova);
                Parallel.Invoke(buffer.Dispose, mappings[0].Dispose, mappings[1].Dispose, space.Dispose);
            }
        });
    }

    private static void Round(Simulated machine, int[] order)
    {
        IommuContext context = machine.Host.OpenContext();
        VfioDeviceFile file = machine.Host.OpenDevice(Simulated.Edu);
        BoundDevice device = file.Bind(context, cookie: 1);
        IoAddressSpace space = context.CreateAddressSpace();
        Attachment attachment = device.Attach(space);
        DmaBuffer buffer = machine.Host.AllocateBuffer(4096);
        Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);
        Bar bar = device.OpenBar(0);
        IDisposable[] objects = [context, file, device, space, attachment, buffer, mapping, bar];
        foreach (int index in order)
        {
            objects[index].Dispose();
        }
    }

    private static int OpenDescriptors() => Directory.GetFileSystemEntries("/proc/self/fd").Length;
}
