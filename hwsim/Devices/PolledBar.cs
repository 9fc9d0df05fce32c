using IommuFd.Native;

namespace IommuFd.HwSim.Devices;

/// <summary>
/// A device whose registers of one BAR can be mapped: its registers are words in an array, and what a driver reads of them is what the array holds.
/// </summary>
internal interface IPolledRegisters
{
    /// <summary>The BAR.</summary>
    int PolledBar { get; }

    /// <summary>Its words.</summary>
    uint[] RegisterFile { get; }

    /// <summary>Where writes are looked for: first word and number of words, ascending.</summary>
    IReadOnlyList<(int Start, int Count)> PolledWords { get; }

    /// <summary>Words whose writes come before all others that are found at the same time.</summary>
    IReadOnlyList<int> AppliedFirst { get; }

    /// <summary>Words whose writes come after all others, in this order: doorbells.</summary>
    IReadOnlyList<int> AppliedLast { get; }

    /// <summary>
    /// Words where writing what was there before means something, with a reserved bit that is shown so that no such write goes unseen.
    /// </summary>
    IReadOnlyList<(int Word, uint Bit)> Marks { get; }

    /// <summary>A write that was found. Called under the device's lock.</summary>
    void WriteRegister(int word, uint value);
}

/// <summary>
/// A BAR with registers that a program has mapped: shared memory, a thread that finds what was written there, and the device's registers published
/// there.
/// </summary>
/// <remarks>
/// A write is found because the word is no longer what was published. So it takes time; writing what can be read there is not seen; of two writes to
/// one word the thread may see the last; the order of writes to different words is kept only as far as <see cref="IPolledRegisters"/> states it; and
/// a read has no effect on the device.
/// </remarks>
// SAFETY: the memory is as large as the register file, and all indexes are in the ranges that the device states.
internal sealed unsafe class PolledBar : IDisposable
{
    private const int Chunk = 64;
    private static readonly TimeSpan s_alert = TimeSpan.FromMilliseconds(5);
    private readonly IPolledRegisters _device;
    private readonly Lock _gate;
    private readonly Func<bool> _answers;
    private readonly DeviceMemory _memory;
    private readonly uint[] _published;
    private readonly bool[] _pending;
    private readonly bool[] _ordered;
    private readonly uint[] _marks;
    private readonly uint[] _first;
    private readonly uint[] _last;
    private readonly int[] _found;
    private readonly uint[] _values;
    private Thread? _thread;
    private volatile bool _stops;

    public PolledBar(IPolledRegisters device, Lock gate, Func<bool> answers)
    {
        _device = device;
        _gate = gate;
        _answers = answers;
        int words = device.RegisterFile.Length;
        _memory = new DeviceMemory(new LinuxKernel(), (ulong)words * 4, device.PolledBar);
        _published = new uint[words];
        _pending = new bool[words];
        _ordered = new bool[words];
        _found = new int[words + device.AppliedFirst.Count];
        _values = new uint[words + device.AppliedFirst.Count];
        _marks = new uint[words];
        _first = new uint[device.AppliedFirst.Count];
        _last = new uint[device.AppliedLast.Count];
        foreach ((int word, uint bit) in device.Marks)
        {
            _marks[word] = bit;
        }

        foreach (int word in device.AppliedFirst.Concat(device.AppliedLast))
        {
            _ordered[word] = true;
        }
    }

    /// <summary>What programs map.</summary>
    public DeviceMemory Memory => _memory;

    private Span<uint> Words => new((void*)_memory.Address, _published.Length);

    /// <summary>The memory shows the registers, and the thread looks for writes. Called under the device's lock.</summary>
    public void Start()
    {
        if (_thread is not null)
        {
            return;
        }

        for (int word = 0; word < _published.Length; word++)
        {
            Words[word] = _published[word] = _device.RegisterFile[word] | _marks[word];
        }

        _stops = false;
        _thread = new Thread(Run) { IsBackground = true, Name = "mapped BAR" };
        _thread.Start();
    }

    /// <summary>Nobody has the BAR mapped any more: the thread ends. Not under the device's lock.</summary>
    public void Stop()
    {
        Thread? thread;
        lock (_gate)
        {
            (thread, _thread) = (_thread, null);
            _stops = true;
        }

        thread?.Join();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Stop();
        _memory.Dispose();
    }

    /// <summary>Takes over what was written. Called under the device's lock, also before a register is accessed in another way.</summary>
    /// <returns>True when there was something.</returns>
    public bool Take()
    {
        if (_thread is null || !Differs())
        {
            return false;
        }

        // Read in the opposite order of what is done: whoever sees a doorbell sees what was written before it.
        Span<uint> words = Words;
        for (int i = _last.Length - 1; i >= 0; i--)
        {
            _last[i] = Volatile.Read(ref words[_device.AppliedLast[i]]);
        }

        int found = _first.Length;
        foreach ((int start, int count) in _device.PolledWords)
        {
            for (int word = start; word < start + count; word++)
            {
                if (!_ordered[word])
                {
                    Find(word, Volatile.Read(ref words[word]), ref found);
                }
            }
        }

        for (int i = _first.Length - 1; i >= 0; i--)
        {
            _first[i] = Volatile.Read(ref words[_device.AppliedFirst[i]]);
        }

        int firstFound = 0;
        for (int i = 0; i < _first.Length; i++)
        {
            Find(_device.AppliedFirst[i], _first[i], ref firstFound);
        }

        for (int i = 0; i < _last.Length; i++)
        {
            Find(_device.AppliedLast[i], _last[i], ref found);
        }

        bool answers = _answers();
        Apply(0, firstFound, answers);
        Apply(_first.Length, found, answers);
        Publish();
        return firstFound != 0 || found != _first.Length;
    }

    /// <summary>
    /// Shows the registers as they are now, but where a write waits. Called under the device's lock, before an interrupt goes out too.
    /// </summary>
    public void Publish()
    {
        if (_thread is null)
        {
            return;
        }

        uint[] registers = _device.RegisterFile;
        Span<uint> words = Words;
        foreach ((int start, int count) in _device.PolledWords)
        {
            for (int at = start; at < start + count; at += Chunk)
            {
                int length = Math.Min(Chunk, start + count - at);
                if (registers.AsSpan(at, length).SequenceEqual(_published.AsSpan(at, length)))
                {
                    continue;
                }

                for (int word = at; word < at + length; word++)
                {
                    uint old = _published[word], shown = registers[word] | _marks[word];
                    if (shown != old && !_pending[word] && Interlocked.CompareExchange(ref words[word], shown, old) == old)
                    {
                        _published[word] = shown;
                    }
                }
            }
        }
    }

    private void Apply(int from, int to, bool answers)
    {
        for (int i = from; i < to; i++)
        {
            _pending[_found[i]] = false;
            if (answers)
            {
                _device.WriteRegister(_found[i], _values[i] & ~_marks[_found[i]]);
            }
        }
    }

    private void Find(int word, uint value, ref int found)
    {
        if (value != _published[word])
        {
            _published[word] = value;
            _pending[word] = true;
            _found[found] = word;
            _values[found++] = value;
        }
    }

    private bool Differs()
    {
        Span<uint> words = Words;
        foreach ((int start, int count) in _device.PolledWords)
        {
            if (!words.Slice(start, count).SequenceEqual(_published.AsSpan(start, count)))
            {
                return true;
            }
        }

        return false;
    }

    // Looks without a pause while something happens, and a thousand times a second else.
    private void Run()
    {
        long busy = Environment.TickCount64;
        while (!_stops)
        {
            if (Differs())
            {
                lock (_gate)
                {
                    _ = Take();
                }

                busy = Environment.TickCount64;
            }
            else if (Environment.TickCount64 - busy < s_alert.Milliseconds)
            {
                Thread.Yield();
            }
            else
            {
                Thread.Sleep(1);
            }
        }
    }
}
