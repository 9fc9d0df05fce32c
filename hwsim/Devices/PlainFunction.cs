using IommuFd.Native;

namespace IommuFd.HwSim.Devices;

/// <summary>
/// A function that a topology describes and nothing stands behind: it has its identification, capabilities and BARs. BARs that the topology calls
/// memory keep what is written to them, the others read as zero.
/// </summary>
/// <remarks>Does not model: any register. It raises no interrupt and does no DMA.</remarks>
internal sealed class PlainFunction : PciDevice, IDisposable
{
    private readonly DeviceMemory?[] _memory = new DeviceMemory?[6];
    private readonly bool[] _isMemory = new bool[6];
    private readonly ulong[] _shown = new ulong[6];

    /// <summary>The function as the topology describes it.</summary>
    public PlainFunction(FunctionTopology topology)
        : base(new PciIdentity(topology.Vendor, topology.Device, topology.Class, topology.Revision, topology.SubsystemVendor,
            topology.SubsystemDevice), topology.ConfigSize)
    {
        bool isVirtual = topology.Vendor == 0xffff;
        foreach (BarTopology bar in topology.Bars)
        {
            _isMemory[bar.Index] = bar.Memory;
            AddBar(new PciBar(
                bar.Index, bar.Size, bar.Kind == BarKind.Io, bar.Kind is BarKind.Memory64 or BarKind.Prefetchable64,
                bar.Kind is BarKind.Prefetchable32 or BarKind.Prefetchable64));
        }

        if (isVirtual)
        {
            // The BARs of a virtual function are in the physical function's capability.
            for (int offset = 0x10; offset < 0x28; offset += 4)
            {
                Config.Set32(offset, 0);
                Config.Writable(offset, 4, 0);
            }
        }

        Config.Set8(0x3d, topology.InterruptPin);
        foreach ((int offset, byte[] bytes) in topology.Config)
        {
            for (int i = 0; i < bytes.Length; i++)
            {
                Config.Set8(offset + i, bytes[i]);
            }
        }

        AllowWrites();
    }

    /// <inheritdoc/>
    internal override bool IsMappable(int bar) => _isMemory[bar];

    /// <inheritdoc/>
    internal override unsafe void ShowMemory(int bar, ulong address, PhysicalMemory memory)
    {
        if (MapBar(bar) is { } bytes && _shown[bar] == 0)
        {
            // SAFETY: the bytes stay mapped until the machine is disposed, and its devices go together.
            memory.Attach(address, (void*)bytes.Address, bytes.Size);
            _shown[bar] = address;
        }
    }

    /// <inheritdoc/>
    internal override DeviceMemory? MapBar(int bar)
    {
        lock (Gate)
        {
            return _isMemory[bar] ? _memory[bar] ??= new DeviceMemory(new LinuxKernel(), Bars[bar]!.Value.Size, bar) : null;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Array.ForEach(_memory, static memory => memory?.Dispose());

    /// <inheritdoc/>
    protected override ulong OnReadBar(int bar, ulong offset, int bytes) => MapBar(bar)?.Read(offset, bytes) ?? 0;

    /// <inheritdoc/>
    protected override void OnWriteBar(int bar, ulong offset, int bytes, ulong value) => MapBar(bar)?.Write(offset, bytes, value);

    /// <inheritdoc/>
    protected override void OnReset() => Array.ForEach(_memory, static memory => memory?.Clear());

    // The control registers of the capabilities that software writes (PCI 3.0 chapter 6, PCI Express base 7.5 and 9.3).
    private void AllowWrites()
    {
        for (int at = (int)Config.Read(0x34, 1), loops = 0; at >= 0x40 && loops < 48; at = (int)Config.Read(at + 1, 1), loops++)
        {
            switch (Config.Read(at, 1))
            {
                case 1:
                    Config.Writable(at + 4, 2, 0x8103);
                    break;
                case 5:
                    bool wide = (Config.Read(at + 2, 2) & 0x80) != 0;
                    Config.Writable(at + 2, 2, 0x71);
                    Config.Writable(at + 4, 4, ~3u);
                    Config.Writable(at + (wide ? 12 : 8), 2, 0xffff);
                    if (wide)
                    {
                        Config.Writable(at + 8, 4, ~0u);
                    }

                    break;
                case 0x10:
                    Config.Writable(at + 8, 2, 0x7eff);
                    Config.Writable(at + 0x28, 2, 0x003f);
                    break;
                case 0x11:
                    Config.Writable(at + 2, 2, 0xc000);
                    break;
                default:
                    break;
            }
        }

        for (int at = Config.Size > 256 ? 256 : 0, loops = 0; at >= 256 && loops < 480; at = (int)(Config.Read(at, 4) >> 20) & ~3, loops++)
        {
            if (Config.Read(at, 2) == 0x10)
            {
                Config.Writable(at + 8, 2, 0x1f);
                Config.Writable(at + 0x10, 2, 0xffff);
            }
        }
    }
}
