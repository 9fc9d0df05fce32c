using static IommuFd.HwSim.Devices.Igb.IgbRegister;

namespace IommuFd.HwSim.Devices.Igb;

/// <summary>
/// Intel's 82576 gigabit Ethernet controller (data sheet revision 2.87) with the identification of QEMU's igb (8086:10c9): 16 transmit and 16 receive
/// queues with legacy and advanced descriptors, checksum and segmentation offload, VLANs, receive filters, RSS, loopback, MSI-X, statistics, and
/// eight virtual functions with mailboxes and a switch between pools.
/// </summary>
/// <remarks>
/// Frames are moved when the tail register is written; interrupts follow when that is done, one for each cause. What is not looped back goes to
/// <see cref="Wire"/>.
/// Does not model: header split, descriptor prefetch and write-back thresholds, receive thresholds, interrupt moderation (EITR keeps its value),
/// flow control, time stamps, IPsec, manageability, wake-up, DCA, link security, the flash (BAR 1 reads as zero), SERDES, autonegotiation's time,
/// arbitration and rate limits, mirroring, flexible and L3/L4 filters, the windows of the virtual functions' registers in BAR 0. What of it software
/// touches is in <see cref="Notes"/>.
/// </remarks>
public sealed unsafe partial class IgbController : PciDevice, IPolledRegisters, IDisposable
{
    /// <summary>Queues of each direction.</summary>
    internal const int Queues = 16;

    /// <summary>Most virtual functions, and pools.</summary>
    internal const int Pools = 8;
    private const int Vectors = 10, FileSize = 0x20000;
    private const uint DeviceReset = 1u << 26, PhyReset = 1u << 31;

    private readonly uint[] _registers = new uint[FileSize / 4];
    private readonly IgbCauses _causes;
    private uint _ioAddress;

    /// <summary>The controller after power-on, with its link up.</summary>
    /// <param name="mac">Six bytes of the address in its EEPROM; null for QEMU's 52:54:00:12:34:56.</param>
    public IgbController(byte[]? mac = null)
        : base(new PciIdentity(0x8086, 0x10c9, 0x020000, 1, 0x1af4, 0x1100), 4096)
    {
        AddBar(new PciBar(0, FileSize));
        AddBar(new PciBar(1, 0x20000));
        AddBar(new PciBar(2, 0x20, IsIo: true));
        AddBar(new PciBar(3, 0x4000, Is64Bit: true));
        AddInterruptPin(1);
        AddCapabilities();
        _causes = new IgbCauses(_registers, 0xc1ff_ffff, RaiseInterrupt);
        FillEeprom(mac ?? [0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);
        OnReset();
    }

    /// <summary>What software did that the model cannot do, the latest last; at most 16 are kept.</summary>
    public List<string> Notes { get; } = [];

    // The layout of QEMU's igb: PM at 0x40, MSI at 0x50, MSI-X at 0x70, PCI Express at 0xa0; AER, ARI and SR-IOV behind 0x100 (section 9.4 to 9.6).
    private void AddCapabilities()
    {
        int power = Config.AddCapability(1, 8);
        Config.Set16(power + 2, 0x22);
        Config.Writable(power + 4, 2, 0x8103);
        Config.SkipTo(0x50);
        AddMsi(1, maskable: true);
        Config.SkipTo(0x70);
        AddMsix(Vectors, 3, 0, 0x2000);
        Config.SkipTo(0xa0);
        AddExpress(Config);
        _ = Config.AddExtendedCapability(0x0e, 1, 0x10);
        int sriov = Config.AddExtendedCapability(0x10, 1, 0x40);
        Config.Writable(sriov + 8, 2, 0x1f);
        Config.Set16(sriov + 8, 0x10);
        Config.Set32(sriov + 0xc, Pools << 16 | Pools);
        Config.Writable(sriov + 0x10, 2, 0xffff);
        Config.Set32(sriov + 0x14, 2 << 16 | 0x80);
        Config.Set16(sriov + 0x1a, 0x10ca);
        Config.Set32(sriov + 0x1c, 0x553);
        Config.Set32(sriov + 0x20, 1);
        Config.Writable(sriov + 0x20, 4, 0x553);
        foreach (int bar in (int[])[0, 3])
        {
            Config.Set32(sriov + 0x24 + (4 * bar), 0xc);
            Config.Writable(sriov + 0x24 + (4 * bar), 4, 0xffff_c000);
            Config.Writable(sriov + 0x28 + (4 * bar), 4, ~0u);
        }

        _sriov = sriov;
    }

    /// <summary>PCI Express and AER, the same in both kinds of function.</summary>
    internal static void AddExpress(PciConfigSpace config)
    {
        int express = config.AddCapability(0x10, 0x3c);
        config.Set16(express + 2, 2);
        config.Set32(express + 4, 0x1000_8020);
        config.Writable(express + 8, 2, 0x7eff);
        config.Set32(express + 0xc, 0x411);
        config.Set16(express + 0x12, 0x11);
        config.Set32(express + 0x24, 0x30_0000);
        config.Writable(express + 0x28, 2, 0x3f);
        int errors = config.AddExtendedCapability(1, 1, 0x50);
        config.Set32(errors + 8, 0x0240_0000);
        config.Set32(errors + 0xc, 0x0046_2030);
        config.Set32(errors + 0x14, 0xe000);
        config.Set32(errors + 0x18, 0xa0);
    }

    /// <inheritdoc/>
    protected override ulong OnReadBar(int bar, ulong offset, int bytes)
    {
        if (bytes is not (4 or 8) || offset % 4 != 0)
            return 0;
        var at = (uint)offset;
        return bar switch
        {
            0 when bytes == 8 => Read(at) | (ulong)Read(at + 4) << 32,
            0 => Read(at),
            2 when at == 0 => _ioAddress,
            2 when at == 4 && _ioAddress < FileSize => Read(_ioAddress),
            _ => 0,
        };
    }

    /// <inheritdoc/>
    protected override void OnWriteBar(int bar, ulong offset, int bytes, ulong value)
    {
        if (bytes is not (4 or 8) || offset % 4 != 0)
            return;
        var at = (uint)offset;
        if (bar == 0)
        {
            Write(at, (uint)value);
            if (bytes == 8)
                Write(at + 4, (uint)(value >> 32));
        }
        else if (bar == 2 && at == 0)
        {
            _ioAddress = (uint)value;
        }
        else if (bar == 2 && at == 4 && _ioAddress < FileSize)
        {
            Write(_ioAddress & ~3u, (uint)value);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Polled?.Dispose();

    /// <inheritdoc/>
    protected override void OnReset() => ResetRegisters(power: true);

    private uint Register(uint offset) => _registers[offset / 4];

    // Keeps a value where software may look for it: at both addresses of a register that has two.
    private void Store(uint offset, uint value)
    {
        _registers[offset / 4] = value;
        _registers[Alias(offset) / 4] = value;
    }

    private uint Read(uint offset)
    {
        offset = Canonical(offset);
        switch (offset)
        {
            case ICR:
                return ReadInterruptCause();
            case EICR:
                var causes = _causes.ReadCause();
                UpdateLine();
                return causes;
            case SWSM:
                // The semaphore: whoever reads 0 has it (section 8.6.12).
                var semaphore = Register(SWSM);
                _registers[SWSM / 4] |= 1;
                return semaphore;
            case >= Statistics and < StatisticsEnd:
                var count = Register(offset);
                _registers[offset / 4] = 0;
                return count;
            default:
                return Register(offset);
        }
    }

    private void Write(uint offset, uint value)
    {
        offset = Canonical(offset);
        if (offset is >= Receive and < Receive + (Queues * QueueStride) or >= Transmit and < Transmit + (Queues * QueueStride))
        {
            WriteQueue(offset, value);
            return;
        }

        if (_causes.Write(offset, value))
        {
            if (offset is EICS or EIMS && !_causes.SendsMessages && _causes.Pending != 0)
                RaiseInterrupt();
            UpdateLine();
            return;
        }

        if (WriteInterrupt(offset, value) || WriteLink(offset, value) || WriteVirtual(offset, value))
        {
            UpdateLine();
            return;
        }

        switch (offset)
        {
            case STATUS or EEMNGCTL or >= Statistics and < StatisticsEnd:
                break;
            case TCTL:
                Store(TCTL, value);
                for (int queue = 0; queue < Queues; queue++)
                    TransmitFrom(queue);
                break;
            default:
                if (IsPlain(offset))
                    Store(offset, value);
                else
                    Note($"register 0x{offset:x} is not modelled; 0x{value:x} was written to it");
                break;
        }
    }

    private void ResetRegisters(bool power)
    {
        Array.Clear(_registers);
        ResetQueues();
        _causes.SendsMessages = false;
        _rxCauses = _txCauses = _otherCauses = 0;
        _ioAddress = 0;
        if (power)
            ResetPhy();
        // FD and SLU come from the EEPROM, which has been read by the time that software looks (AUTO_RD, PRES, 256 words).
        Store(CTRL, 0x41);
        _registers[EECD / 4] = 0x300 | 2 << 11;
        _registers[EEMNGCTL / 4] = 0x000c_0000;
        _registers[RAL / 4] = _eeprom[0] | (uint)_eeprom[1] << 16;
        _registers[(RAL / 4) + 1] = _eeprom[2] | 1u << 31;
        _registers[VET / 4] = 0x8100_8100;
        _registers[RLPML / 4] = 0x2600;
        _registers[RXCSUM / 4] = 0x300;
        for (uint pool = 0; pool < Pools; pool++)
            _registers[(VMOLR / 4) + pool] = 0x2600 | 1u << 31;
        ResetVirtual();
        UpdateLink();
        _otherCauses = 0;
        LowerInterrupt();
    }

    private void Note(string note)
    {
        if (Notes.Count < 16 && !Notes.Contains(note))
            Notes.Add(note);
    }
}
