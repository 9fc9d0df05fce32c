using System.Buffers.Binary;
using System.Text;

namespace IommuFd.HwSim.Devices.Nvme;

// The admin command set (NVMe 1.4 chapter 5).
public sealed unsafe partial class NvmeController
{
    private const int EventLimit = 4;
    private readonly byte[] _page = new byte[4096];
    private readonly uint[] _features = new uint[16];
    private readonly ushort[] _eventCommands = new ushort[EventLimit];
    private int _eventCount;

    private void ResetAdmin()
    {
        Array.Clear(_features);
        _features[4] = 343; // kelvin
        _eventCount = 0;
    }

    // The status, or -1 when the command stays.
    private int Admin(NvmeCommand* command, ref uint result)
    {
        if ((command->Flags & 0xc3) != 0)
            return NvmeStatus.InvalidField;
        switch (command->Opcode)
        {
            case 0x00: return DeleteSubmission(command);
            case 0x01: return CreateSubmission(command);
            case 0x02: return LogPage(command);
            case 0x04: return DeleteCompletion(command);
            case 0x05: return CreateCompletion(command);
            case 0x06: return Identify(command);
            case 0x08: result = 1; return NvmeStatus.Success; // every command has ended before an abort can name it
            case 0x09: return SetFeatures(command, ref result);
            case 0x0a: return GetFeatures(command, ref result);
            case 0x0c:
                if (_eventCount == EventLimit)
                    return NvmeStatus.TooManyAsyncEvents;
                _eventCommands[_eventCount++] = command->Id;
                return -1;
            case 0x7c: return ConfigureDoorbells(command);
            default: return NvmeStatus.InvalidOpcode;
        }
    }

    private void Event(uint result)
    {
        if (_eventCount > 0 && !IsFull(0))
            Complete(0, _eventCommands[--_eventCount], NvmeStatus.Success, result);
    }

    private int CreateCompletion(NvmeCommand* command)
    {
        uint id = command->Dw10 & 0xffff, size = (command->Dw10 >> 16) + 1, vector = command->Dw11 >> 16;
        if (id is 0 or >= Queues || _completion[id].Size != 0)
            return NvmeStatus.InvalidQueueId;
        if (size is < 2 or > LargestQueue)
            return NvmeStatus.InvalidQueueSize;
        if (vector >= Queues || (vector != 0 && !MsixEnabled))
            return NvmeStatus.InvalidVector;
        if ((command->Dw11 & 1) == 0)
            return NvmeStatus.InvalidField;
        if (command->Prp1 % (ulong)PageSize != 0)
            return NvmeStatus.InvalidPrpOffset;
        _completion[id] = new CompletionQueue { Base = command->Prp1, Size = size, Phase = 1, Vector = (int)vector,
            Interrupts = (command->Dw11 & 2) != 0 };
        return NvmeStatus.Success;
    }

    private int CreateSubmission(NvmeCommand* command)
    {
        uint id = command->Dw10 & 0xffff, size = (command->Dw10 >> 16) + 1, completion = command->Dw11 >> 16;
        if (completion is 0 or >= Queues || _completion[completion].Size == 0)
            return NvmeStatus.CompletionQueueInvalid;
        if (id is 0 or >= Queues || _submission[id].Size != 0)
            return NvmeStatus.InvalidQueueId;
        if (size is < 2 or > LargestQueue)
            return NvmeStatus.InvalidQueueSize;
        if ((command->Dw11 & 1) == 0)
            return NvmeStatus.InvalidField;
        if (command->Prp1 % (ulong)PageSize != 0)
            return NvmeStatus.InvalidPrpOffset;
        _submission[id] = new SubmissionQueue { Base = command->Prp1, Size = size, Completion = (int)completion };
        _completion[completion].Submissions |= 1UL << (int)(id - 1);
        return NvmeStatus.Success;
    }

    private int DeleteSubmission(NvmeCommand* command)
    {
        uint id = command->Dw10 & 0xffff;
        if (id is 0 or >= Queues || _submission[id].Size == 0)
            return NvmeStatus.InvalidQueueId;
        _completion[_submission[id].Completion].Submissions &= ~(1UL << (int)(id - 1));
        _submission[id] = default;
        return NvmeStatus.Success;
    }

    private int DeleteCompletion(NvmeCommand* command)
    {
        uint id = command->Dw10 & 0xffff;
        if (id is 0 or >= Queues || _completion[id].Size == 0)
            return NvmeStatus.InvalidQueueId;
        if (_completion[id].Submissions != 0)
            return NvmeStatus.InvalidQueueDeletion;
        _completion[id] = default;
        UpdateLine();
        return NvmeStatus.Success;
    }

    private int Identify(NvmeCommand* command)
    {
        Span<byte> page = _page;
        page.Clear();
        switch (command->Dw10 & 0xff)
        {
            case 0 when command->Namespace is 1 or uint.MaxValue:
                for (int i = 0; i < 3; i++)
                    BinaryPrimitives.WriteUInt64LittleEndian(page[(8 * i)..], _namespace.Blocks);
                page[130] = 9; // blocks of 2^9 bytes
                break;
            case 1:
                BinaryPrimitives.WriteUInt16LittleEndian(page, 0x1b36);
                BinaryPrimitives.WriteUInt16LittleEndian(page[2..], 0x1af4);
                page[4..72].Fill((byte)' ');
                Encoding.ASCII.GetBytes("simulated", page[4..]);
                Encoding.ASCII.GetBytes("Simulated NVMe Ctrl", page[24..]);
                Encoding.ASCII.GetBytes("1.0", page[64..]);
                page[77] = TransferShift;
                BinaryPrimitives.WriteUInt32LittleEndian(page[80..], 0x0001_0400);
                page[257] = 1; // doorbell buffer config
                page[258] = 3;
                page[259] = EventLimit - 1;
                page[260] = 3;
                page[261] = 4; // LPA: extended data, so offsets
                page[512] = 0x66;
                page[513] = 0x44;
                BinaryPrimitives.WriteUInt32LittleEndian(page[516..], 1);
                BinaryPrimitives.WriteUInt16LittleEndian(page[520..], 0x0c); // write zeroes, dataset management
                page[525] = 1; // a volatile write cache: flush means something
                BinaryPrimitives.WriteUInt32LittleEndian(page[536..], 1 | 1 << 16); // any alignment and length, bit buckets
                Encoding.ASCII.GetBytes("nqn.2019-08.org.qemu:simulated", page[768..]);
                break;
            case 2 when command->Namespace < 0xffff_fffe:
                if (command->Namespace == 0)
                    page[0] = 1;
                break;
            case 3 when command->Namespace == 1:
                page[0] = 3;
                page[1] = 16;
                Encoding.ASCII.GetBytes("hwsim-nvme-ns-01", page[4..]);
                break;
            case 0 or 2 or 3: return NvmeStatus.InvalidNamespace;
            default: return NvmeStatus.InvalidField;
        }

        return Reply(command, 0, 4096);
    }

    private int LogPage(NvmeCommand* command)
    {
        ulong offset = command->Dw12 | (ulong)command->Dw13 << 32;
        ulong length = 4 * ((command->Dw10 >> 16 | (ulong)(command->Dw11 & 0xffff) << 16) + 1);
        Span<byte> page = _page;
        page.Clear();
        uint log = command->Dw10 & 0xff;
        if (log == 2)
            BinaryPrimitives.WriteUInt16LittleEndian(page[1..], 323);
        else if (log == 3)
            page[0] = 1;
        else if (log != 1)
            return NvmeStatus.InvalidLogPage;
        return offset % 4 != 0 || offset >= 512 || length > 4096 - offset ? NvmeStatus.InvalidField : Reply(command, (int)offset, length);
    }

    // SAFETY: both callers keep offset + length inside the page.
    private int Reply(NvmeCommand* command, int offset, ulong length)
    {
        fixed (byte* page = _page)
            return Transfer(command, page + offset, length, toHost: true, LaneOf(0));
    }

    private int SetFeatures(NvmeCommand* command, ref uint result)
    {
        uint feature = command->Dw10 & 0xff;
        if ((command->Dw10 & 0x8000_0000) != 0)
            return NvmeStatus.FeatureNotSaveable;
        if (feature is 0 or 3 or > 0x0b)
            return NvmeStatus.InvalidField;
        if (feature == 7)
        {
            if ((command->Dw11 & 0xffff) == 0xffff || command->Dw11 >> 16 == 0xffff)
                return NvmeStatus.InvalidField;
            result = QueueCounts;
            return NvmeStatus.Success;
        }

        _features[feature] = command->Dw11;
        return NvmeStatus.Success;
    }

    private const uint QueueCounts = (Queues - 2) | (Queues - 2) << 16;

    private int GetFeatures(NvmeCommand* command, ref uint result)
    {
        uint feature = command->Dw10 & 0xff;
        if (feature is 0 or 3 or > 0x0b)
            return NvmeStatus.InvalidField;
        result = feature == 7 ? QueueCounts : _features[feature];
        return NvmeStatus.Success;
    }
}
