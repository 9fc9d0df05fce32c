using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Devices.Nvme;

/// <summary>
/// An NVM Express 1.4 controller with the identification of QEMU's (1b36:0010): one namespace of 512-byte blocks, 64 I/O queue pairs, an MSI-X vector
/// for each queue.
/// </summary>
/// <remarks>
/// A command is executed when the doorbell write that announces it is made, on the thread that makes it. Does not model: metadata, shadow doorbells
/// of the admin queue, keyed SGL descriptors, controller memory buffers, namespace management, firmware update, formatting, sanitizing, security,
/// reservations, fused commands, weighted arbitration, interrupt coalescing, queues that are not contiguous. Such a command ends with the status that
/// the specification has for an unsupported one.
/// </remarks>
public sealed unsafe partial class NvmeController : PciDevice, IDisposable
{
    /// <summary>Bytes of a logical block.</summary>
    public const int BlockSize = 512;

    /// <summary>Queue pairs with the admin pair.</summary>
    private const int Queues = 65;
    private const int LargestQueue = 2048;
    private const uint Ready = 1, Fatal = 2, ShutdownComplete = 8;

    private readonly NvmeNamespace _namespace;
    private readonly SubmissionQueue[] _submission = new SubmissionQueue[Queues];
    private readonly CompletionQueue[] _completion = new CompletionQueue[Queues];
    private uint _interruptMask, _configuration, _status, _adminSizes;
    private ulong _adminSubmission, _adminCompletion;

    /// <summary>The controller after power-on.</summary>
    /// <param name="file">The file behind the namespace, as large as it; null for memory.</param>
    /// <param name="size">Bytes of a namespace in memory, a multiple of 512.</param>
    public NvmeController(string? file = null, long size = 16 << 20)
        : base(new PciIdentity(0x1b36, 0x0010, 0x010802, 2, 0x1af4, 0x1100), 4096)
    {
        _namespace = new NvmeNamespace(file, size);
        AddBar(new PciBar(0, 0x4000, Is64Bit: true));
        AddInterruptPin(1);
        AddMsix(Queues, 0, 0x2000);
        int power = Config.AddCapability(1, 8);
        Config.Set16(power + 2, 3);
        Config.Set16(power + 4, 8);
        Config.Writable(power + 4, 2, 0x8103);
        int express = Config.AddCapability(0x10, 0x3c);
        Config.Set16(express + 2, 0x92);
        Config.Set32(express + 4, 0x1000_8020);
        Config.Writable(express + 8, 2, 0x7eff);
        Config.Writable(express + 0x28, 2, 0x3f);
        OnReset();
    }

    /// <inheritdoc/>
    public void Dispose() => _namespace.Dispose();

    private int PageSize => 4096 << (int)(_configuration >> 7 & 15);

    /// <inheritdoc/>
    protected override ulong OnReadBar(int bar, ulong offset, int bytes)
    {
        if (bytes is not (4 or 8) || offset % 4 != 0)
            return 0;
        ulong value = Register(offset & ~7UL);
        return offset % 8 == 0 ? value : value >> 32;
    }

    // CAP: 2048 entries, contiguous queues, 7.5 s, doorbells 4 bytes apart, NVM commands, pages of 4 to 64 KiB (NVMe 1.4 section 3.1.1).
    private ulong Register(ulong offset) => offset switch
    {
        0x00 => (LargestQueue - 1) | 1UL << 16 | 15UL << 24 | 1UL << 37 | 4UL << 52,
        0x08 => 0x0001_0400 | (ulong)_interruptMask << 32,
        0x10 => _interruptMask | (ulong)_configuration << 32,
        0x18 => (ulong)_status << 32,
        0x20 => (ulong)_adminSizes << 32,
        0x28 => _adminSubmission,
        0x30 => _adminCompletion,
        _ => 0,
    };

    /// <inheritdoc/>
    protected override void OnWriteBar(int bar, ulong offset, int bytes, ulong value)
    {
        if (bytes == 8 && offset % 8 == 0)
        {
            WriteInLanes(offset, (uint)value);
            WriteInLanes(offset + 4, (uint)(value >> 32));
        }
        else if (bytes == 4 && offset % 4 == 0)
        {
            WriteInLanes(offset, (uint)value);
        }
    }

    private void WriteRegister(ulong offset, uint value)
    {
        switch (offset)
        {
            case 0x0c: _interruptMask |= value; UpdateLine(); break;
            case 0x10: _interruptMask &= ~value; UpdateLine(); break;
            case 0x14: Configure(value); break;
            case 0x24: _adminSizes = value & 0x0fff_0fff; break;
            case 0x28: _adminSubmission = (_adminSubmission & ~0xffff_ffffUL) | (value & ~0xfffu); break;
            case 0x2c: _adminSubmission = (uint)_adminSubmission | (ulong)value << 32; break;
            case 0x30: _adminCompletion = (_adminCompletion & ~0xffff_ffffUL) | (value & ~0xfffu); break;
            case 0x34: _adminCompletion = (uint)_adminCompletion | (ulong)value << 32; break;
            case >= 0x1000 and < 0x1000 + (8 * Queues): Doorbell((int)(offset - 0x1000) / 4, value); break;
            default: break;
        }
    }

    private void Configure(uint value)
    {
        bool was = (_configuration & 1) != 0, enabled = (value & 1) != 0;
        _configuration = value & 0x00ff_fff1;
        if (was && !enabled)
        {
            (_shadow, _eventIndex) = (0, 0);
            Disable();
        }
        else if (!was && enabled)
        {
            // Pages up to 64 KiB, the NVM command set, entries of 64 and 16 bytes.
            bool good = (value >> 7 & 15) <= 4 && (value >> 4 & 7) == 0 && (_adminSizes & 0xfff) != 0 && (_adminSizes >> 16 & 0xfff) != 0;
            _status = good ? Ready : Fatal;
            if (good)
            {
                _submission[0] = new SubmissionQueue { Base = _adminSubmission, Size = (_adminSizes & 0xfff) + 1 };
                _completion[0] = new CompletionQueue { Base = _adminCompletion, Size = (_adminSizes >> 16) + 1, Phase = 1, Interrupts = true };
            }
        }

        if ((value >> 14 & 3) != 0)
            _status |= ShutdownComplete;
        else
            _status &= ~ShutdownComplete;
    }

    private void Disable()
    {
        Array.Clear(_submission);
        Array.Clear(_completion);
        ResetAdmin();
        _status = 0;
        LowerInterrupt();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        EnterLanes();
        Disable();
        _interruptMask = _configuration = _adminSizes = 0;
        _adminSubmission = _adminCompletion = 0;
        ExitLanes();
    }
}
