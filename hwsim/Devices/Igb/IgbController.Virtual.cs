using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

// Virtual functions as the physical one sees them: which there are, mailboxes, resets (sections 7.10 and 8.14).
public sealed unsafe partial class IgbController
{
    private const uint MailSent = 1, MailTaken = 2, VirtualHolds = 4, PhysicalHolds = 8, ResetVirtualHolds = 0x10;
    private readonly List<IgbVirtualFunction> _virtual = [];
    private int _sriov;

    /// <summary>The virtual functions that are enabled, in their order.</summary>
    public IReadOnlyList<IgbVirtualFunction> VirtualFunctions => _virtual;

    // STATUS: number of virtual functions, and that there are any (bits 14 to 18).
    private uint VirtualStatus => (uint)_virtual.Count << 14 | (_virtual.Count != 0 ? 1u << 18 : 0);

    /// <summary>A function that the bus found behind the SR-IOV capability.</summary>
    /// <exception cref="InvalidOperationException">There are eight already.</exception>
    public IgbVirtualFunction AddVirtual()
    {
        lock (Gate)
        {
            if (_virtual.Count == Pools)
                throw new InvalidOperationException($"The 82576 has {Pools} virtual functions.");
            IgbVirtualFunction function = new(this, _virtual.Count, Gate);
            _virtual.Add(function);
            UpdateLink();
            return function;
        }
    }

    /// <inheritdoc/>
    protected override void OnConfigWritten(int offset, int bytes)
    {
        // VF Enable goes off: they are gone.
        if ((Config.Read(_sriov + 8, 2) & 1) == 0 && _virtual.Count != 0 && offset <= _sriov + 8 && offset + bytes > _sriov + 8)
        {
            _virtual.Clear();
            UpdateLink();
        }
    }

    private bool MayTransmit(int queue) => Owner(queue) is null || (Register(VFTE) >> (queue % Pools) & 1) != 0;

    private bool WriteVirtual(uint offset, uint value)
    {
        switch (offset)
        {
            case >= VMBMEM and < VMBMEM + (Pools * 0x40):
                _registers[offset / 4] = value;
                return true;
            case >= P2VMAILBOX and < P2VMAILBOX + (Pools * 4):
                WritePhysicalMailbox((int)(offset - P2VMAILBOX) / 4, value);
                return true;
            case MBVFICR or VFLRE:
                _registers[offset / 4] &= ~value;
                return true;
            case MBVFIMR:
                _registers[offset / 4] = value;
                return true;
            case VFTE:
                _registers[offset / 4] = value;
                for (int queue = 0; queue < Queues; queue++)
                    TransmitFrom(queue);
                return true;
            default:
                return false;
        }
    }

    private void WritePhysicalMailbox(int index, uint value)
    {
        ref uint mailbox = ref _registers[(P2VMAILBOX / 4) + index];
        if ((value & ResetVirtualHolds) != 0)
            mailbox &= ~VirtualHolds;
        mailbox &= ~PhysicalHolds;
        if ((value & PhysicalHolds) != 0 && (mailbox & VirtualHolds) == 0)
            mailbox |= PhysicalHolds;
        if (index < _virtual.Count)
            _virtual[index].Mail(sent: (value & MailSent) != 0, taken: (value & MailTaken) != 0);
    }

    /// <summary>A virtual function holds the mailbox's memory, or lets go.</summary>
    /// <returns>True when it holds it.</returns>
    internal bool HoldMailbox(int index, bool hold)
    {
        ref uint mailbox = ref _registers[(P2VMAILBOX / 4) + index];
        mailbox &= ~VirtualHolds;
        if (hold && (mailbox & PhysicalHolds) == 0)
            mailbox |= VirtualHolds;
        return (mailbox & VirtualHolds) != 0;
    }

    /// <summary>True while the physical function holds the memory.</summary>
    internal bool PhysicalHoldsMailbox(int index) => (_registers[(P2VMAILBOX / 4) + index] & PhysicalHolds) != 0;

    /// <summary>Mail from a virtual function.</summary>
    internal void Mail(int index, bool sent, bool taken)
    {
        uint causes = (sent ? 1u << index : 0) | (taken ? 0x1_0000u << index : 0);
        _registers[MBVFICR / 4] |= causes;
        if ((causes & 0xff & Register(MBVFIMR)) != 0 || (causes >> 16 & Register(MBVFIMR)) != 0)
            _otherCauses |= VMMB;
        RaiseCauses();
    }

    /// <summary>A virtual function was reset: its queues are as after power-on, and the physical function is told (VFLRE).</summary>
    internal void VirtualReset(int index)
    {
        ResetQueue(index);
        ResetQueue(index + Pools);
        _registers[(P2VMAILBOX / 4) + index] &= ~VirtualHolds;
        _registers[VFLRE / 4] |= 1u << index;
        _otherCauses |= VMMB;
        RaiseCauses();
    }

    /// <summary>A register that is the virtual function's as well: link, mailbox memory, its queues.</summary>
    internal uint Shared(uint offset) => Register(offset);

    /// <summary>The virtual function writes one of those.</summary>
    internal void WriteShared(uint offset, uint value) => Write(offset, value);

    private void ResetVirtual()
    {
        foreach (IgbVirtualFunction function in _virtual)
            function.PhysicalWasReset();
        _registers[MBVFIMR / 4] = 0xff;
        _registers[VFRE / 4] = _registers[VFTE / 4] = 0xff;
    }
}
