namespace IommuFd.HwSim.Foreign;

/// <summary>
/// What is known without asking the host: numbers that were installed in a process and that no call can have ended since. Asking takes 3 us of each
/// call.
/// </summary>
internal sealed class ForeignNumbers
{
    private readonly Lock _gate = new();
    private readonly Dictionary<int, (ForeignProcess Process, ForeignDescriptor Descriptor)> _known = [];

    /// <summary>The descriptor that a process's number leads to; null when the host must be asked.</summary>
    public ForeignDescriptor? Get(ForeignProcess process, int number)
    {
        lock (_gate)
        {
            return _known.TryGetValue(number, out var known) && known.Process == process ? known.Descriptor : null;
        }
    }

    /// <summary>The number was installed in the call that is being served. Another process's knowledge of the same number ends.</summary>
    public void Set(ForeignProcess process, int number, ForeignDescriptor descriptor)
    {
        lock (_gate)
        {
            _known[number] = (process, descriptor);
            descriptor.Numbers.Add(number);
        }
    }

    /// <summary>Before the host does what can end these numbers, in whichever process: tables of descriptors can be shared.</summary>
    public void Forget(uint first, uint last)
    {
        if (first == last)
        {
            lock (_gate)
            {
                _ = _known.Remove((int)first);
            }
        }
        else
        {
            Forget((number, _) => (uint)number >= first && (uint)number <= last);
        }
    }

    /// <summary>Before a process executes another program.</summary>
    public void Forget(ForeignProcess process) => Forget((_, known) => known.Process == process);

    /// <summary>Its last descriptor was closed.</summary>
    public void Forget(ForeignDescriptor descriptor)
    {
        lock (_gate)
        {
            foreach (var number in descriptor.Numbers)
            {
                if (_known.TryGetValue(number, out var known) && known.Descriptor == descriptor)
                {
                    _ = _known.Remove(number);
                }
            }
        }
    }

    private void Forget(Func<int, (ForeignProcess Process, ForeignDescriptor Descriptor), bool> which)
    {
        lock (_gate)
        {
            foreach (var (number, known) in _known)
            {
                if (which(number, known))
                {
                    _ = _known.Remove(number); // a dictionary may lose entries while it is enumerated
                }
            }
        }
    }
}
