using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;

using Xunit;

namespace HwSim.Tests.Kernel.Iommufd;

public sealed class IoasTests
{
    private const ulong Page = 4096;

    [Fact]
    public void Ids_start_at_1_and_the_lowest_free_one_is_given_again()
    {
        using var machine = new TestMachine();
        Assert.Equal((1u, 2u, 3u), (machine.IoasAlloc(), machine.IoasAlloc(), machine.IoasAlloc()));
        Assert.Equal(0, machine.Destroy(2));
        Assert.Equal((2u, 4u), (machine.IoasAlloc(), machine.IoasAlloc()));
    }

    [Fact]
    public void Mapping_without_a_domain_pins_nothing()
    {
        using var machine = new TestMachine(Capabilities.None, memlock: 0);
        Assert.Equal(0, machine.Map(machine.IoasAlloc(), 0xdead_0000_0000, Page, 0x10000));
        Assert.Equal(0UL, machine.Process.PinnedPages.Pages);
    }

    [Fact]
    public void Attach_fills_the_domain_and_charges_each_page_once()
    {
        using var machine = new TestMachine(Capabilities.None);
        var ioas = machine.IoasAlloc();
        var va = (ulong)machine.Mmap(16 * 4096);
        Assert.Equal(0, machine.Map(ioas, va, 16 * Page, 0x100000));
        Assert.Equal(0, machine.Context.Bind(machine.AddDevice(), out var bound));
        var pt = ioas;
        Assert.Equal(0, bound!.Attach(0, ref pt));
        Assert.NotEqual(ioas, pt);
        Assert.Equal(16UL, machine.Process.User.LockedPages.Pages);
        Assert.Equal(16 * Page, (ulong)machine.Ops.Domains[0].Maps.Values.Sum(m => (long)m.Size));

        var copy = new iommu_ioas_copy { src_ioas_id = ioas, dst_ioas_id = ioas, src_iova = 0x100000, dst_iova = 0x200000, length = 8 * Page,
            flags = 7 };
        Assert.Equal(0, machine.Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_COPY, ref copy));
        Assert.Equal(16UL, machine.Process.User.LockedPages.Pages);
        Assert.Equal(0, machine.Unmap(ioas, 0x100000, 16 * Page, out var unmapped));
        Assert.Equal(16 * Page, unmapped);
        Assert.Equal(8UL, machine.Process.User.LockedPages.Pages);

        bound.Detach(0);
        Assert.True(machine.Ops.Domains[0].Freed);
        Assert.Equal(0UL, machine.Process.User.LockedPages.Pages);
        Assert.Equal(0UL, machine.Process.PinnedPages.Pages);
        bound.Unbind();
        Assert.Equal(0, machine.Destroy(ioas));
    }

    [Fact]
    public void Beyond_RLIMIT_MEMLOCK_map_is_ENOMEM_and_leaves_nothing()
    {
        using var machine = new TestMachine(Capabilities.None, memlock: 8 * Page);
        var ioas = machine.IoasAlloc();
        Assert.Equal(0, machine.Context.Bind(machine.AddDevice(), out var bound));
        var pt = ioas;
        Assert.Equal(0, bound!.Attach(0, ref pt));
        var va = (ulong)machine.Mmap(16 * 4096);
        Assert.Equal(-Errno.ENOMEM, machine.Map(ioas, va, 9 * Page, 0x100000));
        Assert.Empty(machine.Ops.Domains[0].Maps);
        Assert.Equal(0UL, machine.Process.User.LockedPages.Pages);
        Assert.Equal(0, machine.Map(ioas, va, 8 * Page, 0x100000));
        Assert.Equal(-Errno.ENOENT, machine.Unmap(ioas, 0x100000, Page, out _));
        bound.Detach(0);
        bound.Unbind();
    }

    [Fact]
    public void Map_of_memory_that_is_not_there_is_EFAULT()
    {
        using var machine = new TestMachine();
        var ioas = machine.IoasAlloc();
        Assert.Equal(0, machine.Context.Bind(machine.AddDevice(), out var bound));
        var pt = ioas;
        Assert.Equal(0, bound!.Attach(0, ref pt));
        Assert.Equal(-Errno.EFAULT, machine.Map(ioas, 0x1000, Page, 0x100000));
        Assert.Equal(-Errno.EINVAL, machine.Map(ioas, 0x1000, Page, 0xfee00000));
        bound.Detach(0);
        bound.Unbind();
    }

    [Fact]
    public void Automatic_iovas_are_the_lowest_that_fit_aligned_to_the_length()
    {
        using var machine = new TestMachine();
        var ioas = machine.IoasAlloc();
        Assert.Equal(0, machine.MapAuto(ioas, 0x40000000, Page, out var first));
        Assert.Equal(0, machine.MapAuto(ioas, 0x40000000, 3 * Page, out var second));
        Assert.Equal(0, machine.MapAuto(ioas, 0x40001000, Page, out var third));
        Assert.Equal((0x1000UL, 0x4000UL, 0x2000UL), (first, second, third));
        Assert.Equal(0, machine.MapAuto(ioas, 0x40000000, 3 << 20, out var large));
        Assert.Equal(0x200000UL, large);
    }

    [Fact]
    public void Steady_map_and_unmap_allocate_nothing()
    {
        using var machine = new TestMachine();
        var ioas = machine.IoasAlloc();
        for (var i = 0; i < 100; i++)
        {
            Cycle(machine, ioas);
        }

        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 100; i++)
        {
            Cycle(machine, ioas);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private static void Cycle(TestMachine machine, uint ioas)
    {
        _ = machine.MapAuto(ioas, 0x40000000, Page, out var iova);
        _ = machine.Unmap(ioas, iova, Page, out _);
        _ = machine.Map(ioas, 0x40000000, Page, 0x5000_0000);
        _ = machine.Unmap(ioas, 0x5000_0000, Page, out _);
    }
}
