using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The open files of the simulated machine by descriptor number. A number that is handed out is a real descriptor (a memfd, or an eventfd where
/// poll(2) must see readiness), so it can be polled, duplicated, passed and closed like any other.
/// </summary>
/// <remarks>
/// Looking a file up takes no lock and allocates nothing. Does not model: a descriptor in a message that nobody receives (its file stays open until
/// the machine is disposed), descriptors closed behind the seam's back, and fork(2).
/// </remarks>
internal sealed class DescriptorTable(LinuxKernel real)
{
    private readonly HashSet<int> _closedAtTheEnd = [];
    private readonly Lock _gate = new();
    private readonly Dictionary<string, List<SimulatedFile>> _travelling = new(StringComparer.Ordinal);
    private SimulatedFile?[] _files = new SimulatedFile?[64];

    /// <summary>The file behind a descriptor with a reference taken; null when it is not one of ours.</summary>
    public SimulatedFile? Get(int descriptor)
    {
        SimulatedFile?[] files = Volatile.Read(ref _files);
        return (uint)descriptor < (uint)files.Length && files[descriptor] is { } file && file.TryGet() ? file : null;
    }

    /// <summary>The same for the length of a call on the file; to be given back by <see cref="SimulatedFile.Exit"/>.</summary>
    public SimulatedFile? Enter(int descriptor, out int entered)
    {
        SimulatedFile?[] files = Volatile.Read(ref _files);
        entered = 0;
        return (uint)descriptor < (uint)files.Length && files[descriptor] is { } file && file.TryEnter(out entered) ? file : null;
    }

    /// <summary>True when the descriptor is one of ours.</summary>
    public bool Has(int descriptor)
    {
        SimulatedFile?[] files = Volatile.Read(ref _files);
        return (uint)descriptor < (uint)files.Length && files[descriptor] is not null;
    }

    /// <summary>Gives a file a number; the table then owns the caller's reference.</summary>
    /// <returns>The number, or -errno; then the caller keeps the reference.</returns>
    public int Install(SimulatedFile file)
    {
        int descriptor = file.HasReadiness ? real.EventFd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK) : real.MemFdCreate("iommufd", Libc.MFD_CLOEXEC);
        if (descriptor < 0)
        {
            return descriptor;
        }

        if (file.HasReadiness)
        {
            file.ReadinessDescriptor = descriptor;
        }

        Set(descriptor, file);
        return descriptor;
    }

    /// <summary>A descriptor of ours was duplicated.</summary>
    public void Duplicate(SimulatedFile file, int copy)
    {
        file.Get();
        Set(copy, file);
    }

    /// <summary>close(2) of one of our descriptors; the last one releases the file.</summary>
    public int Close(int descriptor)
    {
        SimulatedFile? file;
        lock (_gate)
        {
            file = (uint)descriptor < (uint)_files.Length ? _files[descriptor] : null;
            if (file is not null)
            {
                // Before the real close: the number may be given out again at once.
                _files[descriptor] = null;
            }
        }

        int result = real.Close(descriptor);
        file?.Put();
        return result;
    }

    /// <summary>Descriptors of ours were sent over a socket: their files stay open on the way.</summary>
    public unsafe void Sent(int* descriptors, int count)
    {
        for (int i = 0; i < count; i++)
        {
            if (Get(descriptors[i]) is not { } file)
            {
                continue;
            }

            string identity = Identity(descriptors[i]);
            lock (_gate)
            {
                if (!_travelling.TryGetValue(identity, out List<SimulatedFile>? files))
                {
                    _travelling[identity] = files = [];
                }

                files.Add(file);
            }
        }
    }

    /// <summary>Descriptors arrived: those of ours get their files back.</summary>
    public unsafe void Received(int* descriptors, int count)
    {
        for (int i = 0; i < count; i++)
        {
            if (Arrived(descriptors[i]) is { } file)
            {
                Set(descriptors[i], file);
            }
        }
    }

    /// <summary>A message that <see cref="Sent"/> prepared was not sent after all.</summary>
    public unsafe void TakeBack(int* descriptors, int count)
    {
        for (int i = 0; i < count; i++)
        {
            if (Has(descriptors[i]) && Arrived(descriptors[i]) is { } file)
            {
                file.Put();
            }
        }
    }

    /// <summary>The open files by number.</summary>
    public IEnumerable<(int Descriptor, SimulatedFile File)> All()
    {
        SimulatedFile?[] files = Volatile.Read(ref _files);
        for (int i = 0; i < files.Length; i++)
        {
            if (files[i] is { } file)
            {
                yield return (i, file);
            }
        }
    }

    /// <summary>
    /// Whether the machine closed it when it ended. A handle that is lost and finalized later must not close whoever has the number then.
    /// </summary>
    public bool WasClosedAtTheEnd(int descriptor) => _closedAtTheEnd.Contains(descriptor);

    /// <summary>Closes everything that is still open.</summary>
    public void CloseAll()
    {
        for (int i = 0; i < _files.Length; i++)
        {
            if (_files[i] is not null)
            {
                _ = _closedAtTheEnd.Add(i);
                _ = Close(i);
            }
        }

        SimulatedFile[] rest;
        lock (_gate)
        {
            rest = [.. _travelling.Values.SelectMany(static files => files)];
            _travelling.Clear();
        }

        foreach (SimulatedFile file in rest)
        {
            file.Put();
        }
    }

    private SimulatedFile? Arrived(int descriptor)
    {
        lock (_gate)
        {
            if (_travelling.Count == 0 || Identity(descriptor) is not string identity
                || !_travelling.TryGetValue(identity, out List<SimulatedFile>? files))
            {
                return null;
            }

            SimulatedFile file = files[^1];
            files.RemoveAt(files.Count - 1);
            if (files.Count == 0)
            {
                _travelling.Remove(identity);
            }

            return file;
        }
    }

    private void Set(int descriptor, SimulatedFile file)
    {
        lock (_gate)
        {
            if (descriptor >= _files.Length)
            {
                SimulatedFile?[] larger = new SimulatedFile?[Math.Max(_files.Length * 2, descriptor + 1)];
                _files.CopyTo(larger, 0);
                Volatile.Write(ref _files, larger);
            }

            Volatile.Write(ref _files[descriptor], file);
        }
    }

    // A memfd has an inode of its own, an eventfd an id: the same behind every number that leads to it.
    private static string Identity(int descriptor)
    {
        string mount = "", inode = "";
        foreach (string line in File.ReadLines($"/proc/self/fdinfo/{descriptor}"))
        {
            if (line.StartsWith("eventfd-id:", StringComparison.Ordinal))
            {
                return line;
            }

            if (line.StartsWith("mnt_id:", StringComparison.Ordinal))
            {
                mount = line;
            }
            else if (line.StartsWith("ino:", StringComparison.Ordinal))
            {
                inode = line;
            }
        }

        return mount + inode;
    }
}
