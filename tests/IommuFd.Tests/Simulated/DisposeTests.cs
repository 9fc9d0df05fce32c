namespace IommuFd.Tests;

/// <summary>A driver's objects, disposed in every order and while threads wait on them, against the simulated kernel.</summary>
[Collection("counts open descriptors")]
public sealed class DisposeTests
{
    private const int Objects = 8;

    /// <summary>All 40,320 orders with HWSIM_FULL=1, else every thirty-first; in all of them one thread or task waits for the interrupt.</summary>
    [Fact]
    public async Task Every_order_ends_the_waits_and_leaves_nothing_behind()
    {
        using Simulated machine = new();
        int step = Environment.GetEnvironmentVariable("HWSIM_FULL") == "1" ? 1 : 31, descriptors = 0, number = 0;
        for (int round = 0; round < 40320; round += step, number++)
        {
            await Round(machine, Order(round), waitInThread: number % 64 == 0);
            if (number == 0)
            {
                descriptors = OpenDescriptors();
            }
        }

        Assert.InRange(OpenDescriptors(), 0, descriptors + 9); // the runtime opens some of its own
        Assert.Equal(0ul, machine.Machine.Process.PinnedPages.Pages);
        Assert.Equal(0ul, machine.Machine.Process.User.LockedPages.Pages);
    }

    [Fact]
    public async Task Disposing_from_several_threads_at_once_is_one_of_the_orders()
    {
        using Simulated machine = new();
        for (int round = 0; round < 200; round++)
        {
            (IDisposable[] objects, InterruptSet interrupts) = Open(machine);
            ValueTask<ulong> wait = interrupts[0].WaitAsync();
            Parallel.ForEach(objects, static each => each.Dispose());
            await Assert.ThrowsAsync<ObjectDisposedException>(async () => await wait);
        }

        Assert.Equal(0ul, machine.Machine.Process.PinnedPages.Pages);
    }

    [Fact]
    public async Task The_host_can_go_first()
    {
        for (int round = 0; round < 20; round++)
        {
            using Simulated machine = new();
            (IDisposable[] objects, InterruptSet interrupts) = Open(machine);
            ValueTask<ulong> wait = interrupts[0].WaitAsync();
            machine.Host.Dispose();
            await Assert.ThrowsAsync<ObjectDisposedException>(async () => await wait);
            foreach (int index in Order(round * 2001))
            {
                objects[index].Dispose();
            }

            Assert.Equal(0ul, machine.Machine.Process.PinnedPages.Pages);
        }
    }

    private static async Task Round(Simulated machine, int[] order, bool waitInThread)
    {
        (IDisposable[] objects, InterruptSet interrupts) = Open(machine);
        Task wait = waitInThread ? Task.Run(() => interrupts[0].Wait(TimeSpan.FromSeconds(30))) : interrupts[0].WaitAsync().AsTask();
        foreach (int index in order)
        {
            objects[index].Dispose();
        }

        await Assert.ThrowsAsync<ObjectDisposedException>(() => wait);
    }

    private static (IDisposable[] Objects, InterruptSet Interrupts) Open(Simulated machine)
    {
        IommuContext context = machine.Host.OpenContext();
        BoundDevice device = machine.Host.OpenDevice(Simulated.Edu).Bind(context, cookie: 1);
        IoAddressSpace space = context.CreateAddressSpace();
        Attachment attachment = device.Attach(space);
        DmaBuffer buffer = machine.Host.AllocateBuffer(4096);
        Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);
        Bar bar = device.OpenBar(0);
        InterruptSet interrupts = device.EnableInterrupts(InterruptKind.Msi);
        return ([context, device, space, attachment, buffer, mapping, bar, interrupts], interrupts);
    }

    // The permutation of that number: its digits in the factorial number system choose from what is left.
    private static int[] Order(int number)
    {
        List<int> left = [.. Enumerable.Range(0, Objects)];
        int[] order = new int[Objects];
        for (int i = 0; i < Objects; i++)
        {
            int choice = number % left.Count;
            number /= left.Count;
            order[i] = left[choice];
            left.RemoveAt(choice);
        }

        return order;
    }

    private static int OpenDescriptors() => Directory.GetFileSystemEntries("/proc/self/fd").Length;
}
