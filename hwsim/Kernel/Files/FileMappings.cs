namespace IommuFd.HwSim.Kernel;

/// <summary>Which addresses of the process are mappings of simulated files: each page of one keeps its file open.</summary>
internal sealed class FileMappings
{
    private readonly Lock _gate = new();
    private readonly List<(ulong First, ulong Last, SimulatedFile File)> _mappings = [];
    private int _count;

    /// <summary>A file was mapped; the caller's reference moves here.</summary>
    public void Add(nint address, nuint length, SimulatedFile file)
    {
        lock (_gate)
        {
            _mappings.Add(((ulong)address, (ulong)address + PageAlign(length) - 1, file));
            _count = _mappings.Count;
        }
    }

    /// <summary>A range was unmapped or mapped over.</summary>
    public void Remove(nint address, nuint length)
    {
        if (Volatile.Read(ref _count) == 0 || length == 0)
        {
            return;
        }

        ulong first = (ulong)address, last = first + PageAlign(length) - 1;
        var gone = new List<SimulatedFile>();
        lock (_gate)
        {
            for (int i = _mappings.Count - 1; i >= 0; i--)
            {
                (ulong from, ulong to, SimulatedFile file) = _mappings[i];
                if (to < first || from > last)
                {
                    continue;
                }

                _mappings.RemoveAt(i);
                int pieces = 0;
                if (from < first)
                {
                    _mappings.Add((from, first - 1, file));
                    pieces++;
                }

                if (to > last)
                {
                    _mappings.Add((last + 1, to, file));
                    pieces++;
                }

                if (pieces == 0)
                {
                    gone.Add(file);
                }
                else if (pieces == 2)
                {
                    file.Get();
                }
            }

            _count = _mappings.Count;
        }

        foreach (SimulatedFile file in gone)
        {
            file.Put();
        }
    }

    private static ulong PageAlign(nuint length) => ((ulong)length + 4095) & ~4095UL;
}
