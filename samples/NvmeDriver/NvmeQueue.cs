using IommuFd;

namespace NvmeDriver;

/// <summary>A submission and a completion queue (NVMe 1.4 section 4.1), with any number of transfers in line. May be used by several threads; one per queue is fastest.</summary>
public sealed partial class NvmeQueue
{
    /// <summary>Bytes of the list that a command may need: 256 entries of a PRP list, or 128 SGL descriptors.</summary>
    internal const int ListSize = 2048;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
    private readonly Lock _gate = new();
    private readonly NvmeDevice _device;
    private readonly Doorbells _doorbells;
    private readonly Mapping _memory;
    private readonly int _id, _entries;
    private readonly ulong _completions, _lists;
    private readonly NvmeRequest?[] _running;
    private readonly ushort[] _free;

    // Made after all that the queue's thread writes, and before what the next queue's thread reads: they must not share a line of the processors' caches.
    private readonly byte[] _behind;
    private NvmeRequest? _pool, _firstInLine, _lastInLine;
    private int _freeCount;
    private uint _tail, _head, _phase = 1;
    private Exception? _stopped;

    internal NvmeQueue(NvmeDevice device, Doorbells doorbells, Mapping memory, int id, int entries)
    {
        (_device, _doorbells, _memory, _id, _entries) = (device, doorbells, memory, id, entries);
        _completions = PagesOf(64 * entries);
        _lists = _completions + PagesOf(16 * entries);
        _running = new NvmeRequest?[entries - 1];
        _free = new ushort[entries - 1];
        _behind = new byte[256];
        Clear();
    }

    /// <summary>Its number; 0 is the admin queue.</summary>
    public int Id => _id;

    /// <summary>Commands that it holds at a time.</summary>
    public int Depth => _entries - 1;

    /// <summary>Commands that the controller has now.</summary>
    public int Running => Depth - Volatile.Read(ref _freeCount);

    internal ulong Submission => _memory.Iova;

    internal ulong Completion => _memory.Iova + _completions;

    internal int Entries => _entries;

    /// <summary>Bytes of memory that a queue pair needs.</summary>
    internal static ulong MemorySize(int entries) => PagesOf(64 * entries) + PagesOf(16 * entries) + PagesOf(ListSize * (entries - 1));

    /// <summary>Takes what the controller has completed.</summary>
    /// <returns>How many commands.</returns>
    public int Poll()
    {
        lock (_gate)
        {
            int taken = 0;
            while (_stopped is null)
            {
                // The upper half of an entry's last word is the status; its lowest bit turns over with every round.
                ulong entry = _completions + (_head * 16);
                uint last = Volatile.Read(ref _memory.Buffer.At<uint>(entry + 12));
                if ((last >> 16 & 1) != _phase)
                    break;
                uint result = _memory.Buffer.At<uint>(entry);
                if (++_head == _entries)
                    (_head, _phase) = (0, _phase ^ 1);
                taken++;
                Complete((ushort)last, (int)(last >> 17) & 0x7ff, result);
            }

            if (taken != 0)
            {
                _doorbells.Ring(_id, completion: true, _head);
                Advance();
            }

            return taken;
        }
    }

    /// <summary>Empties both queues for a controller that was reset; whatever was under way ends with this failure.</summary>
    internal void Restart(Exception failure)
    {
        Stop(failure);
        lock (_gate)
        {
            Clear();
            _stopped = null;
        }
    }

    /// <summary>The controller is stopped: whatever was under way, and whatever comes, ends with this failure.</summary>
    internal void Stop(Exception failure)
    {
        lock (_gate)
        {
            _stopped = failure;
            for (int slot = 0; slot < _running.Length; slot++)
            {
                if (_running[slot] is not { } request)
                    continue;
                _running[slot] = null;
                request.Failure ??= failure;
                if (--request.Pending == 0 && request.Left == 0)
                    request.Finish();
            }

            while (_firstInLine is { } waiting)
            {
                _firstInLine = waiting.Next;
                (waiting.Left, waiting.Failure) = (0, waiting.Failure ?? failure);
                waiting.Finish();
            }

            _lastInLine = null;
        }
    }

    /// <summary>Gives a finished request back to the pool.</summary>
    internal void Return(NvmeRequest request)
    {
        lock (_gate)
            (request.Next, _pool) = (_pool, request);
    }

    private static ulong PagesOf(int bytes) => ((ulong)bytes + 4095) & ~4095UL;

    private void Clear()
    {
        _memory.Buffer.Slice(0, (int)_lists).Clear();
        (_tail, _head, _phase, _freeCount) = (0, 0, 1, Depth);
        for (int slot = 0; slot < Depth; slot++)
            _free[slot] = (ushort)(Depth - 1 - slot);
    }

    private NvmeRequest Rent(bool awaited)
    {
        lock (_gate)
        {
            NvmeRequest request = _pool ?? new NvmeRequest(this);
            _pool = request.Next;
            request.Start(awaited);
            return request;
        }
    }

    // Puts a request at the end of the line and gives the controller what fits.
    private void Enqueue(NvmeRequest request)
    {
        lock (_gate)
        {
            if (_stopped is { } failure)
            {
                (request.Left, request.Failure) = (0, failure);
                request.Finish();
                return;
            }

            if (_lastInLine is null)
                _firstInLine = request;
            else
                _lastInLine.Next = request;
            _lastInLine = request;
            Advance();
        }
    }

    private void Advance()
    {
        uint tail = _tail;
        while (_freeCount > 0 && _firstInLine is { } request)
        {
            ushort slot = _free[--_freeCount];
            NvmeCommand command = NextCommand(request, slot);
            command.Id = slot;
            _running[slot] = request;
            request.Pending++;
            _memory.Buffer.At<NvmeCommand>(_tail * 64) = command;
            if (++_tail == _entries)
                _tail = 0;
            if (request.Left != 0)
                continue;
            _firstInLine = request.Next;
            if (_firstInLine is null)
                _lastInLine = null;
        }

        if (tail != _tail)
            _doorbells.Ring(_id, completion: false, _tail);
    }

    private void Complete(ushort slot, int status, uint result)
    {
        // An id that was not given out: the controller is out of order, and nothing that it says can be used.
        if (slot >= _running.Length || _running[slot] is not { } request)
        {
            Stop(new IOException($"Queue {_id}: the controller completed command {slot}, which it was not given."));
            return;
        }

        _running[slot] = null;
        _free[_freeCount++] = slot;
        request.Result = result;
        if (status != 0)
        {
            request.Failure ??= new NvmeException(request.Command.Opcode, status);
            if (request.Left != 0)
            {
                // The rest is not tried. A request that still has a rest is the first in line.
                request.Left = 0;
                _firstInLine = request.Next;
                if (_firstInLine is null)
                    _lastInLine = null;
            }
        }

        if (--request.Pending == 0 && request.Left == 0)
            request.Finish();
    }

    // Asks memory until the request is done, and from time to time the controller whether it is still alive.
    private void Wait(NvmeRequest request)
    {
        long start = Environment.TickCount64;
        SpinWait spin = default;
        while (!request.IsDone)
        {
            if (Poll() != 0)
                continue;
            spin.SpinOnce();
            if (spin.Count % 64 != 0)
                continue;
            _device.CheckAlive();
            if (Environment.TickCount64 - start > Limit.TotalMilliseconds)
                _device.Fail(new TimeoutException($"Queue {_id}: command 0x{request.Command.Opcode:x2} did not end in {Limit.TotalSeconds:0} s."));
        }
    }

    private uint Finish(NvmeRequest request)
    {
        Wait(request);
        (uint result, Exception? failure) = (request.Result, request.Failure);
        Return(request);
        return failure is null ? result : throw failure;
    }
}
