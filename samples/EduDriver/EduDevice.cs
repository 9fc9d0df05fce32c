using IommuFd;
using IommuFd.Sysfs;

namespace EduDriver;

/// <summary>
/// A driver for QEMU's educational device (1234:11e8, docs/specs/edu.rst). It owns everything from the context to the interrupt, and runs unchanged
/// on the simulator, on QEMU and on whatever else has these registers.
/// </summary>
public sealed class EduDevice : IDisposable
{
    /// <summary>Bytes that the device's own buffer holds.</summary>
    public const int BufferSize = 4096;

    private const ulong Identification = 0x00, Liveness = 0x04, FactorialOf = 0x08, Status = 0x20, InterruptStatus = 0x24, InterruptRaise = 0x60;
    private const ulong InterruptAcknowledge = 0x64, DmaSource = 0x80, DmaDestination = 0x88, DmaCount = 0x90, DmaCommand = 0x98,
        DeviceBuffer = 0x40000;
    private const uint Computing = 1, InterruptWhenComputed = 0x80;
    private const ulong Start = 1, ToMemory = 2, InterruptWhenDone = 4;

    private readonly Stack<IDisposable> _owned = new();
    private readonly Bar _registers;
    private readonly Interrupt _interrupt;
    private readonly Mapping _mapping;

    /// <summary>Opens the device: bound to a VFIO driver before, of a context of its own here.</summary>
    /// <param name="host">The machine.</param>
    /// <param name="address">The device.</param>
    /// <param name="kind">The kernel interface, or null for the best there is.</param>
    /// <exception cref="IommuFdException">The device cannot be opened, bound or attached.</exception>
    public EduDevice(IommuHost host, PciAddress address, ContextKind? kind = null)
    {
        ArgumentNullException.ThrowIfNull(host);
        try
        {
            IommuContext context = Own(host.OpenContext(kind));
            Device = Own(host.OpenDevice(address).Bind(context, cookie: address.RequesterId));
            Space = Own(context.CreateAddressSpace());
            _ = Own(Device.Attach(Space));
            Buffer = Own(host.AllocateBuffer(BufferSize));
            _mapping = Own(Space.Map(Buffer, DmaAccess.ReadWrite));
            Own(Device.OpenConfigSpace()).EnableBusMaster();
            _registers = Own(Device.OpenBar(0));
            InterruptKind interrupts = Device.Calls.GetIrqInfo(InterruptKind.Msi).Count > 0 ? InterruptKind.Msi : InterruptKind.Intx;
            _interrupt = Own(Device.EnableInterrupts(interrupts))[0];
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The device underneath.</summary>
    public BoundDevice Device { get; }

    /// <summary>What its DMA reaches.</summary>
    public IoAddressSpace Space { get; }

    /// <summary>Memory that it can reach: 4 KiB at <see cref="BufferIova"/>.</summary>
    public DmaBuffer Buffer { get; }

    /// <summary>Where the device sees <see cref="Buffer"/>.</summary>
    public ulong BufferIova => _mapping.Iova;

    /// <summary>Major and minor version, from the identification register.</summary>
    /// <exception cref="InvalidDataException">This is no educational device.</exception>
    public (byte Major, byte Minor) Version
    {
        get
        {
            uint id = _registers.Read32(Identification);
            return (id & 0xffff) == 0x00ed ? ((byte)(id >> 24), (byte)(id >> 16))
                : throw new InvalidDataException($"0x{id:x8} is not the identification of an educational device.");
        }
    }

    /// <summary>Whether the device inverts what is written to its liveness register.</summary>
    public bool IsAlive()
    {
        _registers.Write32(Liveness, 0x5aa5c33c);
        return _registers.Read32(Liveness) == ~0x5aa5c33cu;
    }

    /// <summary>Lets the device compute a factorial modulo 2^32 and waits for its interrupt.</summary>
    public async ValueTask<uint> FactorialAsync(uint n, CancellationToken cancellation = default)
    {
        _registers.Write32(Status, InterruptWhenComputed);
        _registers.Write32(FactorialOf, n);
        await InterruptAsync(cancellation).ConfigureAwait(false);
        return _registers.Read32(FactorialOf);
    }

    /// <summary>The same without an interrupt: asks until the device is done.</summary>
    public uint Factorial(uint n)
    {
        _registers.Write32(Status, 0);
        _registers.Write32(FactorialOf, n);
        SpinWait wait = default;
        while ((_registers.Read32(Status) & Computing) != 0)
        {
            wait.SpinOnce();
        }

        return _registers.Read32(FactorialOf);
    }

    /// <summary>Lets the device read <paramref name="count"/> bytes at an IOVA into its buffer.</summary>
    public ValueTask ReadMemoryAsync(ulong iova, int count, CancellationToken cancellation = default) =>
        TransferAsync(iova, DeviceBuffer, count, 0, cancellation);

    /// <summary>Lets the device write <paramref name="count"/> bytes of its buffer to an IOVA.</summary>
    public ValueTask WriteMemoryAsync(ulong iova, int count, CancellationToken cancellation = default) =>
        TransferAsync(DeviceBuffer, iova, count, ToMemory, cancellation);

    /// <summary>Raises the device's interrupt by hand and waits for it.</summary>
    public async ValueTask InterruptSelfAsync(CancellationToken cancellation = default)
    {
        _registers.Write32(InterruptRaise, 1);
        await InterruptAsync(cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        while (_owned.TryPop(out IDisposable? owned))
        {
            owned.Dispose();
        }
    }

    private async ValueTask TransferAsync(ulong source, ulong destination, int count, ulong direction, CancellationToken cancellation)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, BufferSize);
        _registers.Write64(DmaSource, source);
        _registers.Write64(DmaDestination, destination);
        _registers.Write64(DmaCount, (ulong)count);
        Interlocked.MemoryBarrier(); // what the device is to read is in memory before it is told to
        _registers.Write64(DmaCommand, Start | direction | InterruptWhenDone);
        await InterruptAsync(cancellation).ConfigureAwait(false);
    }

    private async ValueTask InterruptAsync(CancellationToken cancellation)
    {
        _ = await _interrupt.WaitAsync(cancellation).ConfigureAwait(false);
        _registers.Write32(InterruptAcknowledge, _registers.Read32(InterruptStatus));
        if (_interrupt.Kind == InterruptKind.Intx)
        {
            _interrupt.Unmask();
        }
    }

    private T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Push(owned);
        return owned;
    }
}
