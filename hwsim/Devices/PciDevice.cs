using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Devices;

/// <summary>
/// A PCI function: configuration space, BARs, interrupts, and DMA through the IOMMU in front of it. A device model derives from it and implements its
/// registers.
/// </summary>
/// <remarks>
/// Registers are accessed under the device's lock. Does not model: link training and errors (AER), power states beyond the register bits, expansion
/// ROMs.
/// </remarks>
public abstract partial class PciDevice
{
    private readonly Lock _gate;
    private readonly PciBar?[] _bars = new PciBar?[6];
    private byte[]? _resetConfig;
    private bool _mayMapRegisters;

    /// <summary>A function without BARs and capabilities; derived classes add theirs.</summary>
    /// <param name="identity">Its identification.</param>
    /// <param name="configSize">256 for conventional PCI, 4096 for PCIe.</param>
    /// <param name="gate">The lock of the function whose silicon this one shares; null for one of its own.</param>
    protected PciDevice(PciIdentity identity, int configSize, Lock? gate = null)
    {
        _gate = gate ?? new Lock();
        Identity = identity;
        Config = new PciConfigSpace(identity, configSize);
    }

    /// <summary>Its identification.</summary>
    public PciIdentity Identity { get; }

    /// <summary>
    /// Its configuration space, for the model and for looking; software goes through <see cref="ReadConfig"/> and <see cref="WriteConfig"/>.
    /// </summary>
    public PciConfigSpace Config { get; }

    /// <summary>
    /// Bus, device and function as the IOMMU sees them: bus &lt;&lt; 8 | device &lt;&lt; 3 | function. Set when the device is put into a machine.
    /// </summary>
    public ushort RequesterId { get; set; }

    /// <summary>The IOMMU in front of the device; null: its DMA reaches nothing.</summary>
    public IommuUnit? Unit { get; set; }

    /// <summary>Where interrupts go; null drops them.</summary>
    public IInterruptSink? Interrupts { get; set; }

    /// <summary>BARs by index; null where there is none (or the upper half of a 64-bit one).</summary>
    public IReadOnlyList<PciBar?> Bars => _bars;

    /// <summary>Held while registers are accessed; models take it for work that they do at other times.</summary>
    protected Lock Gate => _gate;

    /// <summary>True when the function answers memory accesses (command register bit 1).</summary>
    public bool MemoryEnabled => (Config.Read(PciConfigSpace.Command, 2) & 2) != 0;

    /// <summary>True when the function may do DMA (command register bit 2).</summary>
    public bool BusMasterEnabled => (Config.Read(PciConfigSpace.Command, 2) & 4) != 0;

    /// <summary>
    /// True once the function was pulled out without a word (surprise removal): reads give ones, writes go nowhere, no DMA and no interrupt. What a
    /// program has mapped (<see cref="PlainFunction"/> with memory) stays.
    /// </summary>
    public bool IsDisconnected { get; set; }

    /// <summary>Software reads the configuration space.</summary>
    /// <param name="offset">Byte offset.</param>
    /// <param name="bytes">1, 2 or 4.</param>
    public uint ReadConfig(int offset, int bytes)
    {
        lock (_gate)
            return IsDisconnected ? (uint)((1UL << (8 * bytes)) - 1) : Config.Read(offset, bytes);
    }

    /// <summary>Software writes the configuration space.</summary>
    /// <param name="offset">Byte offset.</param>
    /// <param name="bytes">1, 2 or 4.</param>
    /// <param name="value">The value.</param>
    public void WriteConfig(int offset, int bytes, uint value)
    {
        lock (_gate)
        {
            if (IsDisconnected)
                return;
            _ = Polled?.Take();
            _resetConfig ??= Config.Save();
            Config.Write(offset, bytes, value);
            OnConfigWritten(offset, bytes);
            UpdateInterrupts();
            Polled?.Publish();
        }
    }

    /// <summary>Software reads a BAR.</summary>
    /// <param name="bar">BAR index.</param>
    /// <param name="offset">Byte offset in the BAR.</param>
    /// <param name="bytes">1, 2, 4 or 8.</param>
    /// <returns>The value; all ones where nothing answers.</returns>
    public ulong ReadBar(int bar, ulong offset, int bytes)
    {
        var ones = bytes >= 8 ? ulong.MaxValue : (1UL << (8 * bytes)) - 1;
        if (!Answers(bar, offset, bytes))
            return ones;
        lock (_gate)
        {
            _ = Polled?.Take();
            var value = (IsMsixTable(bar, offset) ? ReadMsix(offset, bytes) : OnReadBar(bar, offset, bytes)) & ones;
            Polled?.Publish();
            return value;
        }
    }

    /// <summary>Software writes a BAR; nothing happens where nothing answers.</summary>
    /// <param name="bar">BAR index.</param>
    /// <param name="offset">Byte offset in the BAR.</param>
    /// <param name="bytes">1, 2, 4 or 8.</param>
    /// <param name="value">The value.</param>
    public void WriteBar(int bar, ulong offset, int bytes, ulong value)
    {
        if (!Answers(bar, offset, bytes) || TryWriteAtOnce(bar, offset, bytes, value))
            return;
        lock (_gate)
        {
            _ = Polled?.Take();
            if (IsMsixTable(bar, offset))
                WriteMsix(offset, bytes, value);
            else
                OnWriteBar(bar, offset, bytes, bytes >= 8 ? value : value & ((1UL << (8 * bytes)) - 1));
            Polled?.Publish();
        }
    }

    /// <summary>Resets the function (FLR, or the bus): configuration as after power-on, registers by <see cref="OnReset"/>.</summary>
    public void Reset()
    {
        lock (_gate)
        {
            _ = Polled?.Take();
            if (_resetConfig != null)
                Config.Restore(_resetConfig);
            ResetInterrupts();
            OnReset();
            Polled?.Publish();
        }
    }

    /// <summary>The registers of a BAR can be mapped from now on, if the model is made for it.</summary>
    /// <returns>False when it is not.</returns>
    internal bool AllowMapping(int bar) => _mayMapRegisters = this is IPolledRegisters registers && registers.PolledBar == bar;

    /// <summary>
    /// Other devices are about to reach a BAR (peer to peer): where it is plain memory it lies in physical memory from now on. Registers cannot be
    /// reached.
    /// </summary>
    internal virtual void ShowMemory(int bar, ulong address, PhysicalMemory memory)
    {
    }

    /// <summary>True when a BAR can be mapped.</summary>
    internal virtual bool IsMappable(int bar) => _mayMapRegisters && this is IPolledRegisters registers && registers.PolledBar == bar;

    /// <summary>The memory that a program maps instead of a BAR; null when it cannot.</summary>
    internal virtual DeviceMemory? MapBar(int bar)
    {
        lock (_gate)
        {
            if (!IsMappable(bar))
                return null;
            Polled ??= new PolledBar((IPolledRegisters)this, _gate, () => MemoryEnabled);
            Polled.Start();
            return Polled.Memory;
        }
    }

    /// <summary>No program has a BAR mapped any more.</summary>
    internal void StopPolling() => Polled?.Stop();

    /// <summary>The registers that are mapped.</summary>
    private protected PolledBar? Polled { get; private set; }

    /// <summary>The device reads memory by DMA.</summary>
    /// <param name="iova">First address.</param>
    /// <param name="destination">The device's own memory.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="pasid">PASID, or none.</param>
    /// <returns>How it ended; <see cref="DmaStatus.Fault"/> without bus mastering or without a unit.</returns>
    // SAFETY: the model passes memory of its own that holds length bytes.
    protected unsafe DmaStatus DmaRead(ulong iova, void* destination, ulong length, uint pasid = DmaRequest.NoPasid)
    {
        var status = Unit != null && BusMasterEnabled && !IsDisconnected ? Unit.Read(RequesterId, pasid, iova, destination, length) : DmaStatus.Fault;
        Volatile.ReadBarrier(); // reads of one device are done in order: what an index read first speaks of is there. Costs nothing on x86-64.
        return status;
    }

    /// <summary>The device writes memory by DMA.</summary>
    /// <param name="iova">First address.</param>
    /// <param name="source">The device's own memory.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="pasid">PASID, or none.</param>
    /// <returns>How it ended; <see cref="DmaStatus.Fault"/> without bus mastering or without a unit.</returns>
    // SAFETY: as DmaRead.
    protected unsafe DmaStatus DmaWrite(ulong iova, void* source, ulong length, uint pasid = DmaRequest.NoPasid)
    {
        Volatile.WriteBarrier(); // writes of one device arrive in order: data, then the entry that tells of it. Costs nothing on x86-64.
        return Unit != null && BusMasterEnabled && !IsDisconnected ? Unit.Write(RequesterId, pasid, iova, source, length) : DmaStatus.Fault;
    }

    /// <summary>Adds a BAR; its size is what software finds by writing all ones.</summary>
    /// <param name="bar">The BAR.</param>
    protected void AddBar(PciBar bar)
    {
        var offset = PciConfigSpace.Bar0 + (4 * bar.Index);
        _bars[bar.Index] = bar;
        var flags = bar.IsIo ? 1u : (bar.Is64Bit ? 4u : 0) | (bar.IsPrefetchable ? 8u : 0);
        Config.Set32(offset, flags);
        Config.Writable(offset, 4, (uint)~(bar.Size - 1) & (bar.IsIo ? ~3u : ~15u));
        if (bar.Is64Bit)
            Config.Writable(offset + 4, 4, (uint)(~(bar.Size - 1) >> 32));
    }

    /// <summary>The model reads one of its registers.</summary>
    /// <param name="bar">BAR index.</param>
    /// <param name="offset">Byte offset, inside the BAR with all bytes.</param>
    /// <param name="bytes">1, 2, 4 or 8.</param>
    protected abstract ulong OnReadBar(int bar, ulong offset, int bytes);

    /// <summary>The model writes one of its registers.</summary>
    /// <param name="bar">BAR index.</param>
    /// <param name="offset">Byte offset, inside the BAR with all bytes.</param>
    /// <param name="bytes">1, 2, 4 or 8.</param>
    /// <param name="value">The value.</param>
    protected abstract void OnWriteBar(int bar, ulong offset, int bytes, ulong value);

    /// <summary>The model takes a write without the device's lock, where it has another that is enough.</summary>
    /// <param name="bar">BAR index.</param>
    /// <param name="offset">Byte offset, inside the BAR with all bytes.</param>
    /// <param name="bytes">1, 2, 4 or 8.</param>
    /// <param name="value">The value.</param>
    /// <returns>False, and nothing happened, when the write needs the lock.</returns>
    protected virtual bool TryWriteAtOnce(int bar, ulong offset, int bytes, ulong value) => false;

    /// <summary>The model's registers go to their reset values.</summary>
    protected abstract void OnReset();

    /// <summary>Told after software wrote configuration bytes.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="bytes">How many.</param>
    protected virtual void OnConfigWritten(int offset, int bytes)
    {
    }

    private bool Answers(int bar, ulong offset, int bytes) =>
        !IsDisconnected && (uint)bar < 6 && _bars[bar] is { } b && offset < b.Size && (ulong)bytes <= b.Size - offset
        && (Config.Read(PciConfigSpace.Command, 2) & (b.IsIo ? 1u : 2u)) != 0;
}
