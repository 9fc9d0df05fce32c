using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Devices.Nvme;

// Shadow doorbells (NVMe 1.4 sections 5.7 and 7.13): the host writes its doorbells to memory, and to the register only when they pass the index that
// the controller keeps beside them. The controller looks at memory whenever it would stop.
public sealed unsafe partial class NvmeController
{
    private ulong _shadow, _eventIndex;

    private int ConfigureDoorbells(NvmeCommand* command)
    {
        if (command->Prp1 == 0 || command->Prp2 == 0 || command->Prp1 % (ulong)PageSize != 0 || command->Prp2 % (ulong)PageSize != 0)
            return NvmeStatus.InvalidField;
        (_shadow, _eventIndex) = (command->Prp1, command->Prp2);
        for (int queue = 1; queue < Queues; queue++)
        {
            // Queues that there are already go on from where they are.
            if (_submission[queue].Size != 0)
                WriteIndex(_shadow, 2 * queue, _submission[queue].Tail);
            if (_completion[queue].Size != 0)
                WriteIndex(_shadow, (2 * queue) + 1, _completion[queue].Head);
        }

        return NvmeStatus.Success;
    }

    // Says where the next doorbell must be rung, then looks once more: the host may have gone past it meanwhile.
    private void UpdateTail(int queue)
    {
        if (_shadow == 0 || queue == 0)
            return;
        ref SubmissionQueue submission = ref _submission[queue];
        WriteIndex(_eventIndex, 2 * queue, submission.Tail);
        Interlocked.MemoryBarrier(); // the driver does it the other way round: one of both sees the other's
        if (ReadIndex(2 * queue, out uint tail) && tail < submission.Size)
            submission.Tail = tail;
    }

    private void UpdateHead(int queue)
    {
        if (_shadow == 0 || queue == 0)
            return;
        ref CompletionQueue completion = ref _completion[queue];
        WriteIndex(_eventIndex, (2 * queue) + 1, completion.Head);
        Interlocked.MemoryBarrier();
        if (ReadIndex((2 * queue) + 1, out uint head) && head < completion.Size)
            completion.Head = head;
    }

    // SAFETY: four bytes on the stack.
    private bool ReadIndex(int index, out uint value)
    {
        uint word = 0;
        bool read = DmaRead(_shadow + (4 * (ulong)index), &word, 4) == DmaStatus.Success;
        value = word;
        return read;
    }

    private void WriteIndex(ulong page, int index, uint value) => _ = DmaWrite(page + (4 * (ulong)index), &value, 4);
}
