using IommuFd.HwSim.Units;
using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

/// <summary>
/// A virtual function of the 82576 (8086:10ca): two queues of each direction, three MSI-X vectors, a mailbox to the physical function (data sheet
/// section 8.14 and 8.26).
/// </summary>
/// <remarks>
/// Its queues are those of the physical function with its number, and that number plus eight; its DMA carries its own requester id. It shares the
/// physical function's lock.
/// Does not model: moderation, PSRTYPE.
/// </remarks>
public sealed unsafe class IgbVirtualFunction : PciDevice
{
    private const uint FileSize = 0x4000, Sent = 1, Taken = 2, Holds = 4, PhysicalHolds = 8, MailArrived = 0x10,
        MailWasTaken = 0x20, ResetDone = 0x80;
    private const uint VFGPRC = 0xf10, VFGPTC = 0xf14, VFGORC = 0xf18, VFGOTC = 0xf34, VFMPRC = 0xf3c, VFGOTLBC = 0xf50;
    private readonly IgbController _physical;
    private readonly int _index;
    private readonly uint[] _registers = new uint[FileSize / 4];
    private readonly IgbCauses _causes;

    internal IgbVirtualFunction(IgbController physical, int index, Lock gate)
        : base(new PciIdentity(0xffff, 0xffff, 0x020000, 1, 0x1af4, 0x1100), 4096, gate)
    {
        _physical = physical;
        _index = index;
        AddBar(new PciBar(0, FileSize, Is64Bit: true, IsPrefetchable: true));
        AddBar(new PciBar(3, FileSize, Is64Bit: true, IsPrefetchable: true));
        // The BARs of a virtual function are in the physical function's capability.
        for (int offset = 0x10; offset < 0x28; offset += 4)
        {
            Config.Set32(offset, 0);
            Config.Writable(offset, 4, 0);
        }

        Config.SkipTo(0x70);
        AddMsix(3, 3, 0, 0x2000);
        Config.SkipTo(0xa0);
        IgbController.AddExpress(Config);
        // The list begins with PCI Express, and MSI-X ends it.
        Config.Set8(0x34, 0xa0);
        Config.Set8(0xa1, 0x70);
        Config.Set8(0x71, 0);
        _ = Config.AddExtendedCapability(0x0e, 1, 0x10);
        Config.Set16(0x154, 0);
        _causes = new IgbCauses(_registers, 7, RaiseInterrupt) { MasksOnSend = true, SendsMessages = true };
        Clear();
    }

    /// <summary>Which virtual function it is, from 0.</summary>
    public int Index => _index;

    /// <inheritdoc/>
    protected override ulong OnReadBar(int bar, ulong offset, int bytes) =>
        bar != 0 || bytes is not (4 or 8) || offset % 4 != 0 ? 0 : Read((uint)offset) | (bytes == 8 ? (ulong)Read((uint)offset + 4) << 32 : 0);

    /// <inheritdoc/>
    protected override void OnWriteBar(int bar, ulong offset, int bytes, ulong value)
    {
        if (bar != 0 || bytes is not (4 or 8) || offset % 4 != 0)
            return;
        Write((uint)offset, (uint)value);
        if (bytes == 8)
            Write((uint)offset + 4, (uint)(value >> 32));
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        Clear();
        _physical.VirtualReset(_index);
    }

    // SAFETY: the controller passes memory of its own that holds length bytes.
    internal DmaStatus Fetch(ulong address, void* destination, ulong length) => DmaRead(address, destination, length);

    internal DmaStatus Deposit(ulong address, void* source, ulong length) => DmaWrite(address, source, length);

    /// <summary>A queue of it has something: VTIVAR has a byte for each, receive 0, transmit 0, receive 1, transmit 1.</summary>
    internal void RaiseQueue(int queue, int shift)
    {
        uint route = _registers[IVAR / 4] >> (shift + (16 * queue));
        if ((route & 0x80) != 0)
            _causes.Set(1u << (int)(route & 3));
    }

    /// <summary>The physical function wrote its side of the mailbox.</summary>
    internal void Mail(bool sent, bool taken)
    {
        _registers[V2PMAILBOX / 4] |= (sent ? MailArrived : 0) | (taken ? MailWasTaken : 0);
        if (sent || taken)
            RaiseMailbox();
    }

    /// <summary>The physical function was reset.</summary>
    internal void PhysicalWasReset()
    {
        Clear();
        RaiseMailbox();
    }

    internal void CountSent(uint size)
    {
        _registers[VFGPTC / 4]++;
        _registers[VFGOTC / 4] += size;
    }

    internal void CountReceived(uint size, bool multicast)
    {
        _registers[VFGPRC / 4]++;
        _registers[VFGORC / 4] += size;
        _registers[VFMPRC / 4] += multicast ? 1u : 0;
    }

    private void Clear()
    {
        Array.Clear(_registers);
        _registers[V2PMAILBOX / 4] = ResetDone;
    }

    private void RaiseMailbox()
    {
        uint route = _registers[IVAR_MISC / 4];
        if ((route & 0x80) != 0)
            _causes.Set(1u << (int)(route & 3));
    }

    // Where a register of the physical function is that this one has a window to; 0 without.
    private uint Window(uint offset) => offset switch
    {
        0x08 => STATUS,
        >= VMBMEM and < VMBMEM + 0x40 => offset + ((uint)_index * 0x40),
        >= ReceiveAlias and < ReceiveAlias + (2 * AliasStride) when offset % AliasStride < QueueStride =>
            Receive + (((uint)_index + ((offset - ReceiveAlias) / AliasStride * IgbController.Pools)) * QueueStride) + (offset % AliasStride),
        >= TransmitAlias and < TransmitAlias + (2 * AliasStride) when offset % AliasStride < QueueStride =>
            Transmit + (((uint)_index + ((offset - TransmitAlias) / AliasStride * IgbController.Pools)) * QueueStride) + (offset % AliasStride),
        _ => 0,
    };

    private uint Read(uint offset)
    {
        if (Window(offset) is uint shared and not 0)
            return _physical.Shared(shared);
        uint value = _registers[offset / 4];
        switch (offset)
        {
            case V2PMAILBOX:
                // What happened is told once.
                _registers[offset / 4] = value & ~(MailArrived | MailWasTaken | ResetDone);
                return value | (_physical.PhysicalHoldsMailbox(_index) ? PhysicalHolds : 0);
            case EICR:
                return _causes.ReadCause();
            default:
                return value;
        }
    }

    private void Write(uint offset, uint value)
    {
        if (Window(offset) is uint shared and not 0)
        {
            if (shared != STATUS)
                _physical.WriteShared(shared, value);
            return;
        }

        if (_causes.Write(offset, value))
            return;
        switch (offset)
        {
            case CTRL when (value & 1u << 26) != 0:
                OnReset();
                break;
            case V2PMAILBOX:
                bool holds = _physical.HoldMailbox(_index, (value & Holds) != 0);
                _registers[offset / 4] = (_registers[offset / 4] & ~Holds) | (holds ? Holds : 0);
                _physical.Mail(_index, (value & Sent) != 0, (value & Taken) != 0);
                break;
            case >= EITR and < EITR + 12 or IVAR or IVAR_MISC or GPIE:
                _registers[offset / 4] = value;
                break;
            case >= VFGPRC and <= VFGOTLBC:
                break;
            default:
                break;
        }
    }
}
