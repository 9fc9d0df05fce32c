using System.Buffers.Binary;
using System.Text;
using IommuFd;
using IommuFd.Sysfs;

namespace NvmeDriver;

/// <summary>
/// A driver for an NVM Express controller and its first namespace: queue pairs that transfer from 512 bytes on, by PRP lists or SGLs, polling or by interrupt.
/// It runs unchanged on the simulator, on QEMU and on hardware.
/// </summary>
public sealed partial class NvmeDevice : IDisposable
{
    /// <summary>The largest part of a transfer that one command carries, if the controller takes as much.</summary>
    public const int LargestCommand = 1 << 20;

    private const int PageSize = 4096;
    private readonly Stack<IDisposable> _owned = new();
    private readonly IommuHost _host;
    private readonly Mapping _page;
    private readonly Bar _registers;
    private readonly Doorbells _doorbells;
    private readonly NvmeQueue _admin;
    private readonly NvmeQueue[] _queues;
    private readonly NvmeOptions _options;
    private readonly List<Task> _reapers = [];
    private (DmaBuffer Shadow, DmaBuffer Events, ulong ShadowIova, ulong EventsIova)? _doorbellPages;
    private int _disposed;

    /// <summary>Opens the controller, which is bound to a VFIO driver, and makes it ready.</summary>
    /// <param name="host">The machine.</param>
    /// <param name="address">The device.</param>
    /// <param name="options">How it is used; null for one queue pair with interrupts.</param>
    /// <exception cref="IommuFdException">The device cannot be opened, bound or attached.</exception>
    /// <exception cref="NvmeException">The controller refuses a command.</exception>
    /// <exception cref="IOException">The controller does not become ready.</exception>
    public NvmeDevice(IommuHost host, PciAddress address, NvmeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(host);
        _host = host;
        _options = options ?? new NvmeOptions();
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(_options.Queues, nameof(options));
        if (_options.Depth is < 1 or > 1023)
            throw new ArgumentOutOfRangeException(nameof(options), _options.Depth, "A queue pair holds 1 to 1023 commands.");
        try
        {
            IommuContext context = Own(host.OpenContext());
            BoundDevice device = Own(host.OpenDevice(address).Bind(context, cookie: address.RequesterId));
            Space = Own(context.CreateAddressSpace());
            _ = Own(device.Attach(Space));
            _page = AllocateMemory(PageSize);
            ConfigSpace config = Own(device.OpenConfigSpace());
            if (config.Read32(8) >> 8 is uint kind and not 0x010802)
                throw new IOException($"{address} is not an NVMe controller: its class is 0x{kind:x6}.");
            config.EnableBusMaster();
            _registers = Own(device.OpenBar(0));

            ulong capabilities = _registers.Read64(NvmeRegister.Capabilities);
            if ((capabilities >> 48 & 15) != 0)
                throw new IOException("The controller has no pages of 4 KiB.");
            int entries = Math.Min(_options.Depth + 1, (int)(capabilities & 0xffff) + 1);
            _doorbells = new Doorbells(_registers, 4 << (int)(capabilities >> 32 & 15));
            _admin = MakeQueue(0, 32);
            int vectors = _options.Interrupts ? (int)Math.Min(device.Calls.GetIrqInfo(InterruptKind.Msix).Count, 1u + (uint)_options.Queues) : 1;
            InterruptSet interrupts = Own(device.EnableInterrupts(InterruptKind.Msix, vectors));
            Start();

            ReadController();
            ReadNamespace();
            int count = Math.Min(_options.Queues, GrantedQueues());
            count = _options.Interrupts ? Math.Min(count, vectors - 1) : count;
            if (_options.ShadowDoorbells && _hasShadowDoorbells)
            {
                Mapping shadow = AllocateMemory(PageSize), events = AllocateMemory(PageSize);
                _doorbellPages = (shadow.Buffer, events.Buffer, shadow.Iova, events.Iova);
            }

            _queues = [.. Enumerable.Range(1, count).Select(id => MakeQueue(id, entries))];
            CreateQueues();
            for (int i = 0; _options.Interrupts && i < count; i++)
                _reapers.Add(ReapAsync(_queues[i], interrupts[i + 1]));
            Watch(device, InterruptKind.Request, "The host wants the controller back.");
            Watch(device, InterruptKind.Error, "The controller reported an error to the host (AER).");
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The device's address space, for memory that is mapped by the caller.</summary>
    public IoAddressSpace Space { get; }

    /// <summary>The queue pairs.</summary>
    public IReadOnlyList<NvmeQueue> Queues => _queues;

    /// <summary>True when data is described by SGL descriptors.</summary>
    public bool UsesSgl => _options.Sgl && HasSgl;

    /// <summary>True when shadow doorbells are in use.</summary>
    public bool UsesShadowDoorbells => _doorbellPages is not null;

    /// <summary>Register writes that shadow doorbells saved.</summary>
    public long DoorbellsSaved => _doorbells.Saved;

    /// <summary>Memory for transfers, mapped for the device; it goes with this driver unless it is disposed before.</summary>
    /// <param name="length">Bytes.</param>
    /// <exception cref="IommuFdException">There is no memory, or it cannot be pinned.</exception>
    public Mapping AllocateMemory(ulong length) => Own(Space.Map(Own(_host.AllocateBuffer(length)), DmaAccess.ReadWrite));

    /// <summary>
    /// Resets the controller and makes it ready again with the same queues. What was under way ends with an <see cref="IOException"/>; what it did is not known.
    /// </summary>
    /// <exception cref="IOException">The controller does not become ready.</exception>
    public void Reset()
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        Enable(false);
        _doorbells.UseShadow(null, null);
        foreach (NvmeQueue queue in _queues.Prepend(_admin))
            queue.Restart(new IOException($"Queue {queue.Id}: the controller was reset."));
        Start();
        CreateQueues();
    }

    /// <summary>Stops the controller and gives everything back. What is under way ends with <see cref="ObjectDisposedException"/>. Safe to repeat, from any thread.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        // The controller stops before the memory of its queues goes.
        if (_admin is not null)
            Fail(new ObjectDisposedException(nameof(NvmeDevice)));
        while (_owned.TryPop(out IDisposable? owned))
            owned.Dispose();
        Task.WaitAll([.. _reapers]);
    }

    /// <summary>Stops the controller, if it still listens, and ends all that is under way.</summary>
    internal void Fail(Exception failure)
    {
        try
        {
            Enable(false);
        }
        catch (Exception inner) when (inner is IOException or IommuFdException or ObjectDisposedException)
        {
            // It is gone, or does not listen: bus mastering ends with the binding.
        }

        foreach (NvmeQueue queue in (_queues ?? []).Prepend(_admin))
            queue.Stop(failure);
    }

    /// <summary>Ends all that is under way when the controller is gone or has given up.</summary>
    internal void CheckAlive()
    {
        Exception failure;
        try
        {
            uint status = _registers.Read32(NvmeRegister.Status);
            if (status != uint.MaxValue && (status & 2) == 0)
                return;
            failure = new IOException(status == uint.MaxValue ? "The controller is gone: its registers read as ones." : $"The controller reports a fatal status: CSTS is 0x{status:x}.");
        }
        catch (Exception gone) when (gone is IommuFdException or ObjectDisposedException)
        {
            failure = gone;
        }

        Fail(failure);
    }

    // What the kernel has to say about the device ends everything: there is nothing to be saved.
    private void Watch(BoundDevice device, InterruptKind kind, string meaning)
    {
        if (device.Calls.GetIrqInfo(kind).Count == 0)
            return;
        _reapers.Add(WatchAsync(Own(device.EnableInterrupts(kind))[0], new IOException(meaning)));
    }

    private async Task WatchAsync(Interrupt interrupt, IOException failure)
    {
        try
        {
            _ = await interrupt.WaitAsync().ConfigureAwait(false);
            Fail(failure);
        }
        catch (ObjectDisposedException)
        {
            // The interrupt was turned off.
        }
    }

    private static async Task ReapAsync(NvmeQueue queue, Interrupt interrupt)
    {
        try
        {
            while (true)
            {
                _ = await interrupt.WaitAsync().ConfigureAwait(false);
                _ = queue.Poll();
            }
        }
        catch (ObjectDisposedException)
        {
            // The interrupts were turned off.
        }
    }

    private NvmeQueue MakeQueue(int id, int entries) => new(this, _doorbells, AllocateMemory(NvmeQueue.MemorySize(entries)), id, entries);

    private T Own<T>(T owned)
        where T : IDisposable
    {
        lock (_owned)
            _owned.Push(owned);
        return owned;
    }
}
