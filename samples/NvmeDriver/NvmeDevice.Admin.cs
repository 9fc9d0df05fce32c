using System.Buffers.Binary;
using System.Text;
using IommuFd;

namespace NvmeDriver;

/// <summary>Controller registers (NVMe 1.4 section 3.1).</summary>
internal static class NvmeRegister
{
    public const ulong Capabilities = 0x00, Configuration = 0x14, Status = 0x1c, AdminSizes = 0x24, AdminSubmission = 0x28, AdminCompletion = 0x30;
}

// Bring-up (NVMe 1.4 section 7.6.1) and the admin commands that it needs (chapter 5).
public sealed partial class NvmeDevice
{
    private const byte CreateSubmission = 0x01, CreateCompletion = 0x05, IdentifyCommand = 0x06, SetFeatures = 0x09, DoorbellBufferConfig = 0x7c;
    private bool _hasShadowDoorbells;

    /// <summary>The controller's serial number.</summary>
    public string Serial { get; private set; } = "";

    /// <summary>The controller's model.</summary>
    public string Model { get; private set; } = "";

    /// <summary>Blocks of the namespace.</summary>
    public ulong Blocks { get; private set; }

    /// <summary>Bytes of a block.</summary>
    public int BlockSize { get; private set; } = 512;

    /// <summary>Bytes that one command transfers; larger transfers become several commands.</summary>
    public int MaximumTransfer { get; private set; } = PageSize;

    /// <summary>True when the controller has SGLs of any alignment.</summary>
    public bool HasSgl { get; private set; }

    private void Start()
    {
        Enable(false);
        _registers.Write32(NvmeRegister.AdminSizes, (uint)((_admin.Entries - 1) | (_admin.Entries - 1) << 16));
        _registers.Write64(NvmeRegister.AdminSubmission, _admin.Submission);
        _registers.Write64(NvmeRegister.AdminCompletion, _admin.Completion);
        Enable(true);
    }

    private void Enable(bool on)
    {
        // Entries of 64 and 16 bytes, pages of 4 KiB. CAP.TO is the time that the controller may take, in 500 ms.
        _registers.Write32(NvmeRegister.Configuration, on ? 4u << 20 | 6u << 16 | 1 : 0);
        long end = Environment.TickCount64 + 500 + (500 * (long)(_registers.Read64(NvmeRegister.Capabilities) >> 24 & 0xff));
        for (uint status; ((status = _registers.Read32(NvmeRegister.Status)) & 1) != (on ? 1u : 0); Thread.Sleep(1))
        {
            if (status == uint.MaxValue)
                throw new IOException("The controller is gone: its registers read as ones.");
            if ((on && (status & 2) != 0) || Environment.TickCount64 > end)
                throw new IOException($"The controller does not become {(on ? "ready" : "idle")}: CSTS is 0x{status:x}.");
        }
    }

    private ReadOnlySpan<byte> Identify(uint what, uint space)
    {
        _ = _admin.Execute(new NvmeCommand { Opcode = IdentifyCommand, Namespace = space, Prp1 = _page.Iova, Dw10 = what });
        return _page.Buffer.Slice(0, PageSize);
    }

    private void ReadController()
    {
        ReadOnlySpan<byte> controller = Identify(1, 0);
        Serial = Encoding.ASCII.GetString(controller.Slice(4, 20)).Trim();
        Model = Encoding.ASCII.GetString(controller.Slice(24, 40)).Trim();
        MaximumTransfer = controller[77] is 0 or > 8 ? LargestCommand : Math.Min(LargestCommand, PageSize << controller[77]);
        _hasShadowDoorbells = (controller[257] & 1) != 0;
        HasSgl = (controller[536] & 3) == 1;
    }

    private void ReadNamespace()
    {
        ReadOnlySpan<byte> first = Identify(0, 1);
        Blocks = BinaryPrimitives.ReadUInt64LittleEndian(first);
        if (Blocks == 0)
            throw new IOException("The controller has no namespace 1.");
        BlockSize = 1 << first[128 + (4 * (first[26] & 15)) + 2];
        // A command counts blocks in 16 bits.
        MaximumTransfer = (int)Math.Min(MaximumTransfer, 65536L * BlockSize);
    }

    // Number of queues: both counts less one.
    private int GrantedQueues()
    {
        uint wanted = (uint)_options.Queues - 1, granted = _admin.Execute(new NvmeCommand { Opcode = SetFeatures, Dw10 = 7, Dw11 = wanted | wanted << 16 });
        return (int)Math.Min(granted & 0xffff, granted >> 16) + 1;
    }

    private void CreateQueues()
    {
        foreach (NvmeQueue queue in _queues)
        {
            uint sizes = (uint)(queue.Id | (queue.Entries - 1) << 16), vector = _options.Interrupts ? (uint)queue.Id << 16 | 2 : 0;
            _ = _admin.Execute(new NvmeCommand { Opcode = CreateCompletion, Prp1 = queue.Completion, Dw10 = sizes, Dw11 = 1 | vector });
            _ = _admin.Execute(new NvmeCommand { Opcode = CreateSubmission, Prp1 = queue.Submission, Dw10 = sizes, Dw11 = (uint)queue.Id << 16 | 1 });
        }

        if (_doorbellPages is not { } pages)
            return;
        pages.Shadow.Span.Clear();
        pages.Events.Span.Clear();
        _ = _admin.Execute(new NvmeCommand { Opcode = DoorbellBufferConfig, Prp1 = pages.ShadowIova, Prp2 = pages.EventsIova });
        _doorbells.UseShadow(pages.Shadow, pages.Events);
    }
}
