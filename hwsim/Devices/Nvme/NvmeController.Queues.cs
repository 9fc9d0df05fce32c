using System.Numerics;
using System.Runtime.InteropServices;
using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Devices.Nvme;

// Queues and doorbells (NVMe 1.4 sections 3.1.24, 4.1 and 4.6).
public sealed unsafe partial class NvmeController
{
    // Queues of different threads do not share lines of the processors' caches, nor the pairs of lines that are fetched together.
    private const int Apart = 128;

    [StructLayout(LayoutKind.Sequential, Size = Apart)]
    private struct SubmissionQueue
    {
        public ulong Base;
        public uint Size, Head, Tail;
        public int Completion;
    }

    [StructLayout(LayoutKind.Sequential, Size = Apart)]
    private struct CompletionQueue
    {
        public ulong Base;

        /// <summary>The submission queues that complete here: bit n for queue n + 1.</summary>
        public ulong Submissions;
        public uint Size, Head, Tail, Phase;
        public int Vector;
        public bool Interrupts;
    }

    private void Doorbell(int index, uint value)
    {
        int queue = index / 2;
        if ((_status & (Ready | Fatal)) != Ready)
            return;
        if (index % 2 == 0)
        {
            ref SubmissionQueue submission = ref _submission[queue];
            if (value >= submission.Size)
            {
                Event(submission.Size == 0 ? 0x010000u : 0x010100u);
                return;
            }

            submission.Tail = value;
            Work(queue);
            return;
        }

        ref CompletionQueue completion = ref _completion[queue];
        if (value >= completion.Size)
        {
            Event(completion.Size == 0 ? 0x010000u : 0x010100u);
            return;
        }

        completion.Head = value;
        if (completion.Interrupts)
            UpdateLine();
        // Room again for what waited for it.
        if (queue == 0)
            Work(0);
        for (ulong left = completion.Submissions; left != 0; left &= left - 1)
            Work(BitOperations.TrailingZeroCount(left) + 1);
    }

    private bool IsFull(int queue)
    {
        ref CompletionQueue completion = ref _completion[queue];
        uint next = (completion.Tail + 1) % completion.Size;
        if (next == completion.Head)
            UpdateHead(queue);
        return next == completion.Head;
    }

    private void Work(int queue)
    {
        ref SubmissionQueue submission = ref _submission[queue];
        var lane = LaneOf(submission.Completion);
        while (submission.Size != 0)
        {
            if (submission.Head == submission.Tail)
                UpdateTail(queue);
            if (submission.Head == submission.Tail || IsFull(submission.Completion))
                return;
            NvmeCommand command;
            // SAFETY: the command is 64 bytes on this stack.
            if (DmaRead(submission.Base + (64UL * submission.Head), &command, 64) != DmaStatus.Success)
            {
                Interlocked.Or(ref _status, Fatal);
                return;
            }

            submission.Head = (submission.Head + 1) % submission.Size;
            uint result = 0;
            int status = queue == 0 ? Admin(&command, ref result) : Io(&command, lane);
            if (status >= 0)
                Complete(queue, command.Id, status, result);
        }
    }

    private void Complete(int queue, ushort id, int status, uint result)
    {
        int target = _submission[queue].Completion;
        ref CompletionQueue completion = ref _completion[target];
        uint* entry = stackalloc uint[4];
        entry[0] = result;
        entry[1] = 0;
        entry[2] = _submission[queue].Head | (uint)queue << 16;
        // An error is final: "do not retry".
        entry[3] = id | completion.Phase << 16 | (uint)(status == 0 ? 0 : status | 0x4000) << 17;
        // SAFETY: the entry is 16 bytes on this stack. The phase comes with the last bytes of one transfer.
        if (DmaWrite(completion.Base + (16UL * completion.Tail), entry, 16) != DmaStatus.Success)
        {
            Interlocked.Or(ref _status, Fatal);
            return;
        }

        if (++completion.Tail == completion.Size)
        {
            completion.Tail = 0;
            completion.Phase ^= 1;
        }

        if (!completion.Interrupts)
            return;
        if (MsixEnabled)
        {
            RaiseInterrupt(completion.Vector);
            return;
        }

        UpdateHead(target); // the line falls with the head, so the host has to ring for it
        UpdateLine();
    }

    // The line is asserted while a queue on an unmasked vector has entries that the host has not taken.
    private void UpdateLine()
    {
        if (MsixEnabled)
            return;
        foreach (ref CompletionQueue queue in _completion.AsSpan())
        {
            if (queue.Interrupts && queue.Head != queue.Tail && (queue.Vector >= 32 || (_interruptMask >> queue.Vector & 1) == 0))
            {
                RaiseInterrupt();
                return;
            }
        }

        LowerInterrupt();
    }
}
