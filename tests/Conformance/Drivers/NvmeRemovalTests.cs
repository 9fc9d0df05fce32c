using IommuFd;
using IommuFd.Sysfs;
using NvmeDriver;
using Xunit;

namespace Conformance.Drivers;

/// <summary>
/// The controller goes while transfers are under way: every one of them ends, with one exception that says why, and everything can be disposed.
/// </summary>
public sealed class NvmeRemovalTests : IDisposable
{
    private readonly TestHost _t = new();
    private readonly IommuHost _host;

    public NvmeRemovalTests() => _host = IommuHost.Over(_t.Host, leaveOpen: true);

    public void Dispose()
    {
        _host.Dispose();
        _t.Dispose();
    }

    [Fact]
    public async Task A_controller_that_is_pulled_out_ends_polling_with_one_exception()
    {
        TestHost.Need(!_t.IsKernel, "a device of the virtual machine cannot be pulled out from inside");
        using NvmeDevice nvme = new(_host, PciAddress.Parse(_t.BindVfio(_t.Nvme)), new NvmeOptions { Interrupts = false });
        Mapping memory = nvme.AllocateMemory(4096);
        using Barrier started = new(2);
        Task<IOException> work = Task.Run(() =>
        {
            for (int i = 0; ; i++)
            {
                try
                {
                    nvme.Queues[0].Read((ulong)i % 64, memory, 0, 4096);
                }
                catch (IOException failure)
                {
                    return failure;
                }

                if (i == 20)
                {
                    started.SignalAndWait();
                }
            }
        });
        started.SignalAndWait();
        _t.Machine!.Device(_t.Nvme)!.IsDisconnected = true;
        IOException end = await work.WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Contains("is gone", end.Message, StringComparison.Ordinal);

        // Later transfers end the same way at once.
        Assert.Same(end, Assert.Throws<IOException>(() => nvme.Queues[0].Read(0, memory, 0, 512)));
        Assert.Same(end, await Assert.ThrowsAsync<IOException>(() => nvme.Queues[0].WriteAsync(0, memory, 0, 512).AsTask()));
    }

    [Fact]
    public async Task A_host_that_takes_the_controller_back_ends_transfers_and_waits_for_the_driver()
    {
        string device = _t.BindVfio(_t.Nvme);
        NvmeDevice nvme = new(_host, PciAddress.Parse(device));
        Mapping memory = nvme.AllocateMemory(4096);
        Task<IOException> work = Task.Run(async () =>
        {
            while (true)
            {
                try
                {
                    await nvme.Queues[0].ReadAsync(5, memory, 0, 4096);
                }
                catch (IOException failure)
                {
                    return failure;
                }
            }
        });
        Task<int> unbind = Task.Run(() => _t.Write("/sys/bus/pci/drivers/vfio-pci/unbind", device));
        IOException end = await work.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Contains("wants the controller back", end.Message, StringComparison.Ordinal);
        Assert.False(unbind.IsCompleted);
        nvme.Dispose();
        Assert.True(await unbind.WaitAsync(TimeSpan.FromSeconds(60)) >= 0);
    }
}
