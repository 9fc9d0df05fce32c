using IommuFd;
using IommuFd.Sysfs;

namespace CopyEngine;

/// <summary>A transfer ended with an error.</summary>
/// <param name="channel">Whose.</param>
/// <param name="error">CHANERR.</param>
public sealed class CopyEngineException(int channel, uint error)
    : IOException(
        $"Channel {channel} halted: CHANERR is 0x{error:x} "
        + $"({((error & 0x300) != 0 ? "memory that it may not reach" : "a descriptor that it does not take")}).")
{
    /// <summary>CHANERR.</summary>
    public uint Error { get; } = error;
}

/// <summary>A driver for Intel's copy engine (I/OAT, QuickData Technology 3.2 and 3.3), on the simulator and on hardware.</summary>
public sealed class CopyEngineDevice : IDisposable
{
    private const ulong ChannelCount = 0, TransferCapability = 1, InterruptControl = 3, Version = 8;
    private const byte MsixVectorControl = 8;
    private readonly Stack<IDisposable> _owned = new();
    private readonly IommuHost _host;

    /// <summary>Opens the engine, which is bound to a VFIO driver, and makes its channels ready.</summary>
    /// <param name="host">The machine.</param>
    /// <param name="address">The device.</param>
    /// <exception cref="IommuFdException">The device cannot be opened, bound or attached.</exception>
    /// <exception cref="IOException">It is no copy engine of version 3.2 or later.</exception>
    public CopyEngineDevice(IommuHost host, PciAddress address)
    {
        ArgumentNullException.ThrowIfNull(host);
        _host = host;
        try
        {
            IommuContext context = Own(host.OpenContext());
            BoundDevice device = Own(host.OpenDevice(address).Bind(context, cookie: address.RequesterId));
            Space = Own(context.CreateAddressSpace());
            _ = Own(device.Attach(Space));
            ConfigSpace config = Own(device.OpenConfigSpace());
            if (config.VendorId != 0x8086 || config.Read32(8) >> 8 != 0x088000)
                throw new IOException($"{address} is no copy engine of Intel's.");
            config.EnableBusMaster();
            Bar bar = Own(device.OpenBar(0));
            byte version = bar.Read8(Version);
            if (version < 0x32)
                throw new IOException($"{address} has version {version >> 4}.{version & 15}; this driver needs 3.2.");
            int channels = bar.Read8(ChannelCount);
            uint largest = 1u << bar.Read8(TransferCapability);
            InterruptSet interrupts = Own(device.EnableInterrupts(InterruptKind.Msix, channels));
            bar.Write8(InterruptControl, MsixVectorControl);
            Channels = [.. Enumerable.Range(0, channels)
                .Select(i => new CopyChannel(bar, AllocateMemory(CopyChannel.MemorySize), interrupts[i], i, largest))];
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The device's address space.</summary>
    public IoAddressSpace Space { get; }

    /// <summary>The channels.</summary>
    public IReadOnlyList<CopyChannel> Channels { get; }

    /// <summary>Memory that the engine reaches.</summary>
    /// <param name="length">Bytes.</param>
    public Mapping AllocateMemory(ulong length) => Own(Space.Map(Own(_host.AllocateBuffer(length)), DmaAccess.ReadWrite));

    /// <inheritdoc/>
    public void Dispose()
    {
        // The attachment goes before the memory, so a channel that still runs reaches nothing.
        while (_owned.TryPop(out IDisposable? owned))
            owned.Dispose();
    }

    private T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Push(owned);
        return owned;
    }
}
