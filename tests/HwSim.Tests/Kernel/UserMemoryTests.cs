using System.Runtime.InteropServices;
using HwSim.Tests.Kernel.Load;
using IommuFd.HwSim;
using IommuFd.HwSim.Devices;
using IommuFd.HwSim.Kernel;
using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static HwSim.Tests.Kernel.Load.SeamCalls;
using static IommuFd.Native.Errno;

namespace HwSim.Tests.Kernel;

/// <summary>
/// Memory that the program frees, protects or never had, under a device that has it mapped: -EFAULT or a DMA error, and the process lives on.
/// </summary>
public sealed unsafe partial class UserMemoryTests : IDisposable
{
    private const ulong Iova = 0x1000_0000, Mark = 0x0123_4567_89ab_cdef;
    private static readonly LinuxHost s_real = new();

    private static long s_alone;
    private readonly SimulatedHost _host = new(Topology.ByName("intel"));
    private readonly SeamCalls _c;
    private readonly int _device, _iommufd;
    private readonly uint _ioas;

    public UserMemoryTests()
    {
        _c = new SeamCalls(_host);
        _c.BindToVfio(Edu);
        (_device, _iommufd) = (_c.OpenDevice(Edu), _c.OpenIommu());
        _ = _c.Bind(_device, _iommufd);
        _ioas = _c.IoasAlloc(_iommufd);
        Ok(_c.Attach(_device, _ioas));
        _c.WriteRegion(_device, Vfio.VFIO_PCI_CONFIG_REGION_INDEX, 4, 2, 6);
    }

    private DmaStatus LastDma => ((EduDevice)_host.Device(Edu)!).LastDma;

    public void Dispose() => _host.Dispose();

    [Fact]
    public void Memory_that_is_unmapped_while_it_is_mapped_for_a_device_stays_for_the_device()
    {
        nint memory = _c.Pages(2);
        *(ulong*)memory = 0x1234;
        Map(memory, 2 * Page);
        Ok(_c.Kernel.Munmap(memory, (nuint)(2 * Page)));
        _c.Dma(_device, Iova, Page, toMemory: false);
        Assert.Equal(DmaStatus.Success, LastDma);
        _c.Dma(_device, Iova + Page, Page, toMemory: true);
        Assert.Equal(DmaStatus.Success, LastDma);

        // What the device wrote is in the page that it alone has: mapped once more from there, it is read.
        ulong other = 0x2000_0000;
        Ok(_c.Copy(_iommufd, _ioas, _ioas, Iova, 2 * Page, ref other, 7));
        _c.Dma(_device, other + Page, 8, toMemory: false);
        Assert.Equal(DmaStatus.Success, LastDma);
    }

    [Fact]
    public void The_process_itself_has_lost_it()
    {
        nint memory = Alone(_c.Kernel, 1);
        Map(memory, Page);
        Ok(_c.Kernel.Munmap(memory, (nuint)Page));
        ulong iova = 0x2000_0000;
        Assert.Equal(-EFAULT, _c.Map(_iommufd, _ioas, memory, Page, ref iova));
        Assert.Equal(-EFAULT, _c.Kernel.Ioctl(_iommufd, IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_ALLOC, memory));
        Assert.Equal(-EFAULT, (int)_c.Kernel.Pread(_device, memory, 4, (long)Vfio.VFIO_PCI_CONFIG_REGION_INDEX << 40));
    }

    [Fact]
    public void Memory_that_is_unmapped_behind_the_seam_stays_for_the_device_too()
    {
        nint memory = Alone(_c.Kernel, 2);
        *(ulong*)memory = Mark;
        Map(memory, 2 * Page);
        Ok(s_real.Kernel.Munmap(memory, (nuint)(2 * Page)));
        _c.Dma(_device, Iova, Page, toMemory: false);
        Assert.Equal(DmaStatus.Success, LastDma);
        _c.Dma(_device, Iova + Page, Page, toMemory: true);
        Assert.Equal(DmaStatus.Success, LastDma);

        Assert.Equal(Mark, Read(Iova + Page));
        Ok(_c.Unmap(_iommufd, _ioas, Iova, 2 * Page, out _));
        Assert.Equal(0UL, _host.Process.PinnedPages.Pages);
    }

    [Fact]
    public void Memory_that_is_protected_while_it_is_mapped_stays_for_the_device()
    {
        nint memory = _c.Pages(1);
        *(ulong*)memory = Mark;
        Map(memory, Page);
        Protect(memory, Libc.PROT_NONE);
        Assert.Equal(Mark, Read(Iova));
        _c.Dma(_device, Iova, Page, toMemory: true);
        Assert.Equal(DmaStatus.Success, LastDma);
        Ok(_c.Kernel.Munmap(memory, (nuint)Page));
    }

    [Fact]
    public void Memory_that_was_unmapped_behind_the_seam_ends_no_call_either()
    {
        nint memory = Alone(_c.Kernel, 1);
        new Span<byte>((void*)memory, (int)Page).Clear();
        *(uint*)memory = (uint)sizeof(iommu_ioas_alloc);
        Ok(_c.Kernel.Ioctl(_iommufd, IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_ALLOC, memory));
        Ok(s_real.Kernel.Munmap(memory, (nuint)Page));
        Ok(_c.Kernel.Ioctl(_iommufd, IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_ALLOC, memory));
        Ok(_c.Kernel.Munmap(memory, (nuint)Page));
        Assert.Equal(-EFAULT, _c.Kernel.Ioctl(_iommufd, IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_ALLOC, memory));
    }

    [Fact]
    public void Pages_that_MADV_DONTNEED_drops_stay_for_the_device_and_the_process_reads_zeros()
    {
        nint memory = _c.Pages(2);
        ((ulong*)memory)[0] = ((ulong*)memory)[512] = Mark;
        Map(memory, 2 * Page);
        Ok(_c.Kernel.Madvise(memory, (nuint)Page, Libc.MADV_DONTNEED));
        Assert.Equal(0UL, ((ulong*)memory)[0]);
        Assert.Equal(Mark, ((ulong*)memory)[512]);
        Assert.Equal(Mark, Read(Iova));
        ulong iova = 0x2000_0000;
        Ok(_c.Map(_iommufd, _ioas, memory, 2 * Page, ref iova, 7));
        Assert.Equal(0UL, Read(iova));
        Assert.Equal(Mark, Read(iova + Page));
    }

    [Fact]
    public void Memory_that_is_freed_behind_the_seam_is_a_DMA_error()
    {
        nint memory = Foreign(2);
        Map(memory, 2 * Page);
        *(ulong*)memory = 0x77;
        _c.Dma(_device, Iova, Page, toMemory: false);
        Assert.Equal(DmaStatus.Success, LastDma);
        _c.Dma(_device, Iova + Page, Page, toMemory: true);
        Assert.Equal(0x77UL, ((ulong*)memory)[512]);
        Ok(s_real.Kernel.Munmap(memory, (nuint)(2 * Page)));
        _c.Dma(_device, Iova, Page, toMemory: false);
        Assert.Equal(DmaStatus.NoMemory, LastDma);
        _c.Dma(_device, Iova, Page, toMemory: true);
        Assert.Equal(DmaStatus.NoMemory, LastDma);
        Ok(_c.Unmap(_iommufd, _ioas, Iova, 2 * Page, out _));
        Assert.Equal(0UL, _host.Process.PinnedPages.Pages);
    }

    [Fact]
    public void Memory_that_is_protected_behind_the_seam_is_a_DMA_error()
    {
        nint memory = Foreign(1);
        Map(memory, Page);
        Protect(memory, Libc.PROT_NONE);
        _c.Dma(_device, Iova, Page, toMemory: false);
        Assert.Equal(DmaStatus.NoMemory, LastDma);
        Protect(memory, Libc.PROT_READ);
        _c.Dma(_device, Iova, Page, toMemory: false);
        Assert.Equal(DmaStatus.Success, LastDma);
        _c.Dma(_device, Iova, Page, toMemory: true);
        Assert.Equal(DmaStatus.NoMemory, LastDma);
        Ok(s_real.Kernel.Munmap(memory, (nuint)Page));
    }

    [Fact]
    public void Memory_without_permission_cannot_be_pinned()
    {
        nint memory = Foreign(1);
        Protect(memory, Libc.PROT_NONE);
        ulong iova = Iova;
        Assert.Equal(-EFAULT, _c.Map(_iommufd, _ioas, memory, Page, ref iova));
        Protect(memory, Libc.PROT_READ);
        Assert.Equal(-EFAULT, _c.Map(_iommufd, _ioas, memory, Page, ref iova));
        Ok(_c.Map(_iommufd, _ioas, memory, Page, ref iova, 5));
        Ok(s_real.Kernel.Munmap(memory, (nuint)Page));
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(0x1000UL)]
    [InlineData(0x7fff_ffff_f000UL)]
    [InlineData(0x8000_0000_0000UL)]
    [InlineData(0xffff_8000_0000_0000UL)]
    [InlineData(0xffff_ffff_ffff_e000UL)]
    public void A_wild_pointer_is_EFAULT(ulong address)
    {
        ulong iova = Iova;
        Assert.Equal(-EFAULT, _c.Map(_iommufd, _ioas, (nint)address, Page, ref iova));
        foreach (IoctlCommand command in IoctlCommands.Iommufd.Where(static command => command.Passing == IoctlPassing.Pointer))
        {
            Assert.Equal(-EFAULT, _c.Kernel.Ioctl(_iommufd, command.Request, (nint)address));
        }

        Assert.Equal(-EFAULT, _c.Kernel.Ioctl(_device, Vfio.VFIO_DEVICE_GET_INFO, (nint)address));
        Assert.Equal(-EFAULT, _c.Kernel.Ioctl(_device, Vfio.VFIO_DEVICE_SET_IRQS, (nint)address));
        Assert.Equal(-EFAULT, _c.Kernel.Ioctl(_device, Vfio.VFIO_DEVICE_FEATURE, (nint)address));
        Assert.Equal(-EFAULT, (int)_c.Kernel.Pread(_device, (nint)address, 4, (long)Vfio.VFIO_PCI_CONFIG_REGION_INDEX << 40));
        Assert.Equal(-EFAULT, (int)_c.Kernel.Pwrite(_device, (nint)address, 4, (long)Vfio.VFIO_PCI_CONFIG_REGION_INDEX << 40));
    }

    [Fact]
    public void A_file_that_is_cut_while_it_is_mapped_keeps_its_pages_for_the_device()
    {
        int file = Ok(_c.Kernel.MemFdCreate("guest", 0));
        Ok(_c.Kernel.Ftruncate(file, (long)(4 * Page)));
        nint view = _c.Kernel.Mmap(0, (nuint)(4 * Page), Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, file, 0);
        ((ulong*)view)[3 * 512] = 0x99;
        var map = new iommu_ioas_map_file { size = (uint)sizeof(iommu_ioas_map_file), flags = 7, ioas_id = _ioas, fd = file, length = 4 * Page,
            iova = Iova };
        Ok(_c.Ioctl(_iommufd, IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_MAP_FILE, ref map));
        Ok(_c.Kernel.Ftruncate(file, (long)Page));
        _c.Dma(_device, Iova + (3 * Page), Page, toMemory: false);
        Assert.Equal(DmaStatus.Success, LastDma);
        _c.Dma(_device, Iova, Page, toMemory: true);
        Assert.Equal(DmaStatus.Success, LastDma);
        Assert.Equal(0x99UL, *(ulong*)view);
        Ok(_c.Unmap(_iommufd, _ioas, Iova, 4 * Page, out _));
        Ok(_c.Kernel.Close(file));
    }

    // Far from where the host puts mappings: once it is free, nothing else of this process comes to lie there.
    private static nint Alone(IKernel kernel, int pages) => kernel.Mmap((nint)(0x2000_0000_0000 + (Interlocked.Increment(ref s_alone) << 24)),
        (nuint)((ulong)pages * Page), Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);

    private static nint Foreign(int pages) => Alone(s_real.Kernel, pages);

    private static void Protect(nint memory, int protection) => Assert.Equal(0, Mprotect(memory, (nuint)Page, protection));

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Mprotect(nint address, nuint length, int protection);

    // The edu reads the page, and writes it to a page of its own.
    private ulong Read(ulong iova)
    {
        const ulong there = 0x7000_0000;
        nint copy = _c.Pages(1);
        ulong at = there;
        Ok(_c.Map(_iommufd, _ioas, copy, Page, ref at));
        _c.Dma(_device, iova, Page, toMemory: false);
        _c.Dma(_device, there, Page, toMemory: true);
        Assert.Equal(DmaStatus.Success, LastDma);
        ulong value = *(ulong*)copy;
        Ok(_c.Unmap(_iommufd, _ioas, there, Page, out _));
        Ok(_c.Kernel.Munmap(copy, (nuint)Page));
        return value;
    }

    private void Map(nint memory, ulong length)
    {
        ulong iova = Iova;
        Ok(_c.Map(_iommufd, _ioas, memory, length, ref iova));
    }
}
