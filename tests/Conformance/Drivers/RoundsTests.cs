using System.Globalization;
using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;
using Xunit;

namespace Conformance.Drivers;

/// <summary>What is done a thousand times leaves no descriptor, no pinned page and no IOVA behind.</summary>
public sealed class RoundsTests : IDisposable
{
    private readonly TestHost _t = new();
    private readonly IommuHost _host;

    public RoundsTests() => _host = IommuHost.Over(_t.Host, leaveOpen: true);

    public void Dispose()
    {
        _host.Dispose();
        _t.Dispose();
    }

    [Fact]
    public void A_thousand_rounds_of_open_bind_attach_map_detach_and_close()
    {
        PciAddress edu = PciAddress.Parse(_t.BindVfio(_t.Single));
        using IommuContext context = _host.OpenContext();
        using Ioas ioas = context.AllocateIoas();
        using DmaBuffer buffer = _host.AllocateBuffer(16 * 4096);
        (int, ulong) before = default;
        for (int i = 0; i <= 1000; i++)
        {
            using (BoundDevice device = _host.OpenDevice(edu).Bind(context, cookie: 1))
            {
                uint table = ioas.Id;
                _ = device.Calls.Attach(table);
                ulong iova = ioas.Map(buffer.Address, buffer.Length, DmaAccess.ReadWrite);
                if (i % 10 == 0)
                {
                    using Bar bar = device.OpenBar(0);
                    using InterruptSet interrupts = device.EnableInterrupts(InterruptKind.Msi);
                    Assert.Equal(0x010000edu, bar.Read32(0));
                }

                if (i % 2 == 0)
                {
                    device.Calls.Detach(); // else closing does it
                }

                Assert.Equal(buffer.Length, ioas.Unmap(iova, buffer.Length));
            }

            if (i == 0)
            {
                before = (OpenDescriptors(), PinnedPages());
            }
        }

        Assert.Equal(before.Item2, PinnedPages());
        Assert.InRange(OpenDescriptors(), 0, before.Item1 + 9); // the runtime opens some of its own; a leak would be one a round
        Assert.Equal(Errno.ENOENT, Assert.Throws<IommuFdException>(() => ioas.Unmap(0, 4096)).Errno);
        _ = ioas.TryUnmap(0, ulong.MaxValue, out ulong unmapped, out _);
        Assert.Equal(0u, unmapped);
    }

    /// <summary>A thousand times on the simulator; under a real kernel, which is emulated, five times.</summary>
    [Fact]
    public void Rounds_of_bind_attach_detach_and_unbind_with_the_driver()
    {
        int rounds = _t.IsKernel ? 5 : 1000, descriptors = 0;
        PciAddress edu = PciAddress.Parse(_t.Single);
        DriverBinder binder = new(_t.Sysfs, new MemoryBindingStore());
        ulong pinned = 0;
        for (int i = 0; i <= rounds; i++)
        {
            Assert.Null(binder.Apply(binder.PlanBind([edu], DriverClaim.VfioPci)));
            using (IommuContext context = _host.OpenContext())
            using (BoundDevice device = _host.OpenDevice(edu).Bind(context, cookie: 1))
            using (IoAddressSpace space = context.CreateAddressSpace())
            using (Attachment attachment = device.Attach(space))
            using (DmaBuffer buffer = _host.AllocateBuffer(4096))
            using (Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite))
            {
                Assert.Same(mapping, space.FindMapping(mapping.Iova));
            }

            Assert.Null(binder.Apply(binder.PlanReturn([edu])));
            Assert.Null(_t.DriverOf(_t.Single));
            if (i == 0)
            {
                (descriptors, pinned) = (OpenDescriptors(), PinnedPages());
            }
        }

        Assert.Equal(pinned, PinnedPages());
        Assert.InRange(OpenDescriptors(), 0, descriptors + 9);
    }

    private static int OpenDescriptors() => Directory.GetFileSystemEntries("/proc/self/fd").Length;

    private ulong PinnedPages()
    {
        if (_t.Machine is { } machine)
        {
            return machine.Process.PinnedPages.Pages;
        }

        string line = File.ReadLines("/proc/self/status").First(static line => line.StartsWith("VmPin:", StringComparison.Ordinal));
        return ulong.Parse(line.AsSpan(6).Trim().ToString().Split(' ')[0], CultureInfo.InvariantCulture) / 4;
    }
}
