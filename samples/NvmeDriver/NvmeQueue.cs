using IommuFd;

namespace NvmeDriver;

/// <summary>A submission and a completion queue with one command in flight at a time.</summary>
/// <remarks>Not for use by several threads.</remarks>
internal sealed class NvmeQueue(Bar registers, Mapping memory, int id, Interrupt? interrupt)
{
    /// <summary>Entries of each queue.</summary>
    public const int Entries = 64;

    /// <summary>Bytes of memory that both need: a page each.</summary>
    public const int MemorySize = 8192;

    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(10);
    private uint _tail, _head, _phase = 1;
    private ushort _command;

    /// <summary>Address of the submission queue.</summary>
    public ulong Submission => memory.Iova;

    /// <summary>Address of the completion queue.</summary>
    public ulong Completion => memory.Iova + 4096;

    /// <summary>Executes a command, asking memory until it is done.</summary>
    public uint Execute(in NvmeCommand command)
    {
        Submit(command);
        long end = Environment.TickCount64 + (long)Timeout.TotalMilliseconds;
        SpinWait wait = default;
        while (!IsDone())
        {
            if (Environment.TickCount64 > end)
                throw new TimeoutException($"Queue {id}: command 0x{command.Opcode:x2} did not end in {Timeout.TotalSeconds:0} s.");
            wait.SpinOnce();
        }

        return Take(command.Opcode);
    }

    /// <summary>Executes a command and waits for the queue's interrupt.</summary>
    public async ValueTask<uint> ExecuteAsync(NvmeCommand command, CancellationToken cancellation)
    {
        Interrupt line = interrupt ?? throw new InvalidOperationException($"Queue {id} has no interrupt.");
        Submit(command);
        while (!IsDone())
            _ = await line.WaitAsync(cancellation).ConfigureAwait(false);
        return Take(command.Opcode);
    }

    private void Submit(in NvmeCommand command)
    {
        NvmeCommand entry = command;
        entry.Id = ++_command;
        memory.Buffer.At<NvmeCommand>(_tail * 64) = entry;
        _tail = (_tail + 1) % Entries;
        Interlocked.MemoryBarrier(); // the entry is in memory before the device is told of it
        registers.Write32(0x1000 + (8 * (ulong)id), _tail);
    }

    // The upper half of the last word is the status; its lowest bit turns over with every round.
    private bool IsDone() => (Volatile.Read(ref memory.Buffer.At<uint>(4096 + (_head * 16) + 12)) >> 16 & 1) == _phase;

    private uint Take(byte opcode)
    {
        uint result = memory.Buffer.At<uint>(4096 + (_head * 16));
        int status = (int)(memory.Buffer.At<uint>(4096 + (_head * 16) + 12) >> 17) & 0x7ff;
        if (++_head == Entries)
            (_head, _phase) = (0, _phase ^ 1);
        registers.Write32(0x1004 + (8 * (ulong)id), _head);
        return status == 0 ? result : throw new NvmeException(opcode, status);
    }
}
