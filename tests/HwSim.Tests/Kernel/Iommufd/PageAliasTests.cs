using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Xunit;

namespace HwSim.Tests.Kernel.Iommufd;

/// <summary>Memory that came through the seam is mapped twice while it is the program's or pinned, and not longer.</summary>
public sealed unsafe class PageAliasTests : IDisposable
{
    private const nuint Page = 4096;
    private static readonly LinuxHost s_real = new();
    private readonly TestMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void Pinned_memory_is_reached_where_the_program_has_no_hand()
    {
        nint memory = _machine.Mmap(2 * Page);
        IPageSource pages = _machine.User.PagesAt((ulong)memory, 2 * Page, withDevices: false);
        Assert.Equal(0, pages.Pin((ulong)memory, 2 * Page, writable: true));
        ulong length = 2 * Page;
        nint host = pages.HostAddress((ulong)memory, ref length);
        Assert.Equal(2UL * Page, length);
        Assert.NotEqual(memory, host);
        Assert.Equal(memory % (1 << 30), host % (1 << 30));
        *(ulong*)memory = 7;
        Assert.Equal(7UL, *(ulong*)host);
        Unmap(memory, 2);
        Assert.Equal(7UL, *(ulong*)host);
        Assert.Equal(1, _machine.User.AliasCount);
        pages.Unpin((ulong)memory, Page);
        Assert.Equal(1, _machine.User.AliasCount);
        pages.Unpin((ulong)memory + Page, Page);
        Assert.Equal(0, _machine.User.AliasCount);
        Assert.Equal(-Errno.EFAULT, pages.Pin((ulong)memory, Page, writable: true));
    }

    [Fact]
    public void What_is_left_of_a_mapping_keeps_its_pages()
    {
        nint memory = _machine.Mmap(3 * Page);
        IPageSource pages = _machine.User.PagesAt((ulong)memory, 3 * Page, withDevices: false);
        Unmap(memory + (nint)Page, 1);
        Assert.Same(pages, _machine.User.PagesAt((ulong)memory + (2 * Page), Page, withDevices: false));
        Assert.NotSame(pages, _machine.User.PagesAt((ulong)memory, 3 * Page, withDevices: false));
        Unmap(memory, 1);
        Assert.Equal(1, _machine.User.AliasCount);
        Unmap(memory + (nint)(2 * Page), 1);
        Assert.Equal(0, _machine.User.AliasCount);
    }

    [Fact]
    public void Neighbouring_mappings_are_pinned_as_one()
    {
        nint memory = _machine.Mmap(2 * Page);
        _ = s_real.Kernel.Mmap(memory + (nint)Page, Page, 3, Libc.MAP_SHARED | Libc.MAP_ANONYMOUS | Libc.MAP_FIXED, -1, 0);
        _machine.User.AddMapping(memory + (nint)Page, Page);
        ((ulong*)memory)[0] = 1;
        ((ulong*)memory)[512] = 2;
        IPageSource pages = _machine.User.PagesAt((ulong)memory, 2 * Page, withDevices: false);
        Assert.Equal(0, pages.Pin((ulong)memory, 2 * Page, writable: true));
        Unmap(memory, 2);
        for (var i = 0; i < 2; i++)
        {
            ulong length = Page;
            Assert.Equal((ulong)i + 1, *(ulong*)pages.HostAddress((ulong)memory + ((ulong)i * Page), ref length));
        }

        pages.Unpin((ulong)memory, 2 * Page);
        Assert.Equal(0, _machine.User.AliasCount);
    }

    [Fact]
    public void The_same_addresses_again_are_other_pages()
    {
        nint memory = _machine.Mmap(Page);
        IPageSource old = _machine.User.PagesAt((ulong)memory, Page, withDevices: false);
        Assert.Equal(0, old.Pin((ulong)memory, Page, writable: true));
        _ = s_real.Kernel.Mmap(memory, Page, 3, Libc.MAP_SHARED | Libc.MAP_ANONYMOUS | Libc.MAP_FIXED, -1, 0);
        _machine.User.AddMapping(memory, Page);
        IPageSource young = _machine.User.PagesAt((ulong)memory, Page, withDevices: false);
        Assert.Equal(0, young.Pin((ulong)memory, Page, writable: true));
        ulong length = Page;
        Assert.NotEqual(old.HostAddress((ulong)memory, ref length), young.HostAddress((ulong)memory, ref length));
        Assert.Equal(2, _machine.User.AliasCount);
        old.Unpin((ulong)memory, Page);
        young.Unpin((ulong)memory, Page);
        Unmap(memory, 1);
        Assert.Equal(0, _machine.User.AliasCount);
    }

    private void Unmap(nint memory, nuint pages)
    {
        _machine.User.RemoveMapping(memory, pages * Page);
        Assert.Equal(0, s_real.Kernel.Munmap(memory, pages * Page));
    }
}
