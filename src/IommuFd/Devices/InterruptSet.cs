using System.Collections;

namespace IommuFd;

/// <summary>The enabled interrupts of one kind; disposing turns them off and ends every wait with <see cref="ObjectDisposedException"/>.</summary>
public sealed class InterruptSet : Resource, IReadOnlyList<Interrupt>
{
    private readonly Interrupt[] _interrupts;

    private InterruptSet(BoundDevice device, InterruptKind kind, Interrupt[] interrupts)
        : base(device)
    {
        Device = device;
        Kind = kind;
        _interrupts = interrupts;
    }

    /// <summary>The device.</summary>
    public BoundDevice Device { get; }

    /// <summary>The kind.</summary>
    public InterruptKind Kind { get; }

    /// <summary>How many are enabled.</summary>
    public int Count => _interrupts.Length;

    /// <summary>One of them.</summary>
    public Interrupt this[int index] => _interrupts[index];

    internal static InterruptSet Enable(BoundDevice device, InterruptKind kind, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        device.Enter();
        Interrupt[] interrupts = new Interrupt[count];
        int[] descriptors = new int[count];
        try
        {
            IrqInfo info = device.Calls.GetIrqInfo(kind);
            if (info.Count < (uint)count)
            {
                throw Failure.Because(
                    "VFIO_DEVICE_SET_IRQS", Native.Errno.EINVAL, FailureCause.OutOfRange,
                    $"the device has {info.Count} interrupts of the kind {kind}",
                    "Ask for no more than that.", new Evidence("count", $"{count}"));
            }

            for (int i = 0; i < count; i++)
            {
                interrupts[i] = new Interrupt(device, kind, (uint)i);
                descriptors[i] = interrupts[i].Waiter.Descriptor;
            }

            device.Calls.SetIrqEventFds(kind, 0, descriptors);
            return new InterruptSet(device, kind, interrupts);
        }
        catch
        {
            foreach (Interrupt? interrupt in interrupts)
            {
                interrupt?.Waiter.Dispose();
            }

            device.Exit();
            throw;
        }
    }

    /// <inheritdoc/>
    public IEnumerator<Interrupt> GetEnumerator() => ((IEnumerable<Interrupt>)_interrupts).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private protected override void Disposing()
    {
        _ = Device.Calls.SetIrqCall(Kind, 0, 0, Native.Uapi.Vfio.VFIO_IRQ_SET_ACTION_TRIGGER);
        foreach (Interrupt interrupt in _interrupts)
        {
            interrupt.Waiter.Dispose();
        }
    }

    private protected override void Free()
    {
    }
}
