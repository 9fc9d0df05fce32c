using IommuFd.HwSim.Devices.Pasid;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Commands, DMA and page faults at the same time: nothing waits for ever, nothing is left behind.</summary>
public sealed unsafe class ConcurrencyTests
{
    private const ulong Page = RfcMachine.Page;
    private static readonly TimeSpan s_time = TimeSpan.FromMilliseconds(400);

    [Fact]
    [Trait("rfc", "1.1-shadow-follows")]
    public void Maps_attaches_and_DMA_on_several_threads()
    {
        using var machine = new RfcMachine();
        int iommu = machine.OpenIommu(), edu = machine.OpenBound(RfcMachine.Edu, iommu, 1), nic = machine.OpenBound(RfcMachine.Nic, iommu, 2);
        int gpa = machine.Alloc(iommu), giova = machine.Alloc(iommu, gpa);
        ulong memory = machine.Memory(16 * Page, 7);
        Assert.Equal(0, machine.Map(iommu, giova, 0x10_0000, 0, 16 * Page));
        Run(
            () =>
            {
                Assert.Equal(0, machine.Map(iommu, gpa, 0, memory, 16 * Page));
                Assert.Equal((long)(16 * Page), machine.Unmap(iommu, gpa, 0, 16 * Page));
            },
            () =>
            {
                Assert.Equal(0, machine.Attach(edu, iommu, giova));
                Assert.Equal(0, machine.Detach(edu, iommu, giova));
            },
            () =>
            {
                Assert.Equal(0, machine.Attach(nic, iommu, gpa));
                Assert.Equal(0, machine.Attach(nic, iommu, giova));
                Assert.Equal(0, machine.Detach(nic, iommu, giova));
                Assert.Equal(0, machine.Detach(nic, iommu, gpa));
            },
            () => Assert.True(machine.DmaRead(RfcMachine.Edu, 0x10_0000) is null or 7),
            () => Assert.True(machine.DmaRead(RfcMachine.Nic, 0x10_0000) is null or 7));
        Assert.Equal(0UL, machine.PinnedPages);
        Assert.Equal(0, machine.Free(iommu, giova));
        Assert.Equal(0, machine.Free(iommu, gpa));
    }

    [Fact]
    [Trait("rfc", "FAULT_COMPLETE")]
    public void Page_faults_completions_and_detaches_on_several_threads()
    {
        using var machine = new RfcMachine();
        int iommu = machine.OpenIommu(), device = machine.OpenBound(RfcMachine.Accelerator, iommu, 1), gpa = machine.Alloc(iommu);
        ulong memory = machine.Memory(1 << 20);
        var table = new GuestTable(memory, 1 << 20);
        Assert.Equal(0, machine.Map(iommu, gpa, 0, memory, 1 << 20));
        int gva = machine.AllocUserTable(iommu, gpa, table.Root, IOMMU_IOASID_FAULT);
        Assert.Equal(0, machine.Attach(device, iommu, gva, vpasid: 1));
        iommu_ioasid_fault_region region = new() { argsz = (uint)sizeof(iommu_ioasid_fault_region), ioasid = gva, eventfd = -1, nr_records = 64 };
        Assert.Equal(0, machine.Ioctl(iommu, IOMMU_IOASID_FAULT_REGION, ref region));
        RfcChannel[] channels = [new(machine, device, 0), new(machine, device, 1)];
        int completed = 0;
        Run(
            () => Fault(channels[0]),
            () => Fault(channels[1]),
            () =>
            {
                iommu_ioasid_fault fault;
                if (machine.Kernel.Read(region.out_fd, (nint)(&fault), (nuint)sizeof(iommu_ioasid_fault)) == sizeof(iommu_ioasid_fault))
                {
                    iommu_ioasid_fault_completion completion = new()
                    {
                        argsz = (uint)sizeof(iommu_ioasid_fault_completion),
                        ioasid = gva,
                        fault_id = fault.fault_id,
                        cookie = fault.cookie,
                        code = (uint)iommu_page_response_code.IOMMU_PAGE_RESP_INVALID,
                    };
                    Assert.True(machine.Ioctl(iommu, IOMMU_IOASID_FAULT_COMPLETE, ref completion) is 0 or -Errno.EINVAL);
                    completed++;
                }
            },
            () =>
            {
                Assert.Equal(0, machine.Detach(device, iommu, gva, vpasid: 1));
                Assert.Equal(0, machine.Attach(device, iommu, gva, vpasid: 1));
                Thread.Sleep(1);
            });
        Assert.NotEqual(0, completed);
        Assert.Equal(0, machine.Kernel.Close(region.out_fd));
        Assert.Equal(0, machine.Kernel.Close(device));
        Assert.Equal(0, machine.Free(iommu, gva));

        // Every request is answered, by the user or by the kernel; without a space the unit refuses it.
        static void Fault(RfcChannel channel)
        {
            channel.Start(PasidCommand.RequestPage, 0x7f00_0000_1000, 1, RfcChannel.Pri);
            Assert.Equal(PasidStatus.Refused, channel.Wait());
        }
    }

    // Each action again and again, on a thread of its own, until the time is over; the reader of faults goes on while devices wait.
    private static void Run(params Action[] actions)
    {
        using var stop = new CancellationTokenSource(s_time);
        int devices = actions.Length > 4 ? 0 : 2, left = devices;
        var failures = new System.Collections.Concurrent.ConcurrentQueue<Exception>();
        Thread[] threads = [.. actions.Select((action, i) => new Thread(() =>
        {
            try
            {
                while (!stop.IsCancellationRequested || (i >= devices && Volatile.Read(ref left) > 0))
                {
                    action();
                }
            }
            catch (Exception e)
            {
                failures.Enqueue(e);
            }

            if (i < devices)
            {
                Interlocked.Decrement(ref left);
            }
        }) { IsBackground = true })];
        Array.ForEach(threads, static thread => thread.Start());
        Assert.All(threads, static thread => Assert.True(thread.Join(TimeSpan.FromSeconds(60)), "a thread waits for ever"));
        Assert.Empty(failures);
    }
}
