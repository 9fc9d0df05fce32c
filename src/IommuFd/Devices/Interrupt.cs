namespace IommuFd;

/// <summary>One enabled interrupt of a device.</summary>
public sealed class Interrupt
{
    private readonly BoundDevice _device;

    internal Interrupt(BoundDevice device, InterruptKind kind, uint number)
    {
        _device = device;
        Kind = kind;
        Number = number;
        Waiter = new EventWaiter(device.Host, this);
    }

    /// <summary>The kind.</summary>
    public InterruptKind Kind { get; }

    /// <summary>Its number within the kind.</summary>
    public uint Number { get; }

    internal EventWaiter Waiter { get; }

    /// <summary>Waits until the interrupt has fired since the last wait. One asynchronous wait at a time. Allocates nothing.</summary>
    /// <param name="cancellation">Ends the wait.</param>
    /// <returns>How often it fired.</returns>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The interrupts were turned off, before or during the wait.</exception>
    public ValueTask<ulong> WaitAsync(CancellationToken cancellation = default) => Waiter.WaitAsync(cancellation);

    /// <summary>Waits in the calling thread.</summary>
    /// <param name="timeout">How long, in steps of a millisecond; <see cref="Timeout.InfiniteTimeSpan"/> for ever.</param>
    /// <returns>How often it fired since the last wait; 0 after the timeout.</returns>
    /// <exception cref="ObjectDisposedException">The interrupts were turned off, before or during the wait.</exception>
    public ulong Wait(TimeSpan timeout) => Waiter.Wait(timeout);

    /// <summary>Takes the count without waiting: how often it fired since the last wait.</summary>
    public ulong Take() => Waiter.Take();

    /// <summary>Masks it; what the device raises meanwhile is delivered once unmasked.</summary>
    /// <exception cref="IommuFdException">EINVAL or ENOTTY this kind cannot be masked (MSI and MSI-X through VFIO).</exception>
    public void Mask() => _device.Calls.MaskIrqs(Kind, Number, 1);

    /// <summary>Unmasks it. INTx masks itself when it fires: unmask it after the device has been quieted.</summary>
    /// <exception cref="IommuFdException">EINVAL or ENOTTY this kind cannot be masked.</exception>
    public void Unmask() => _device.Calls.UnmaskIrqs(Kind, Number, 1);

    /// <summary>As <c>Msix interrupt 3</c>.</summary>
    public override string ToString() => $"{Kind} interrupt {Number}";

    /// <summary>Fires it as if the device had.</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void Trigger() => _device.Calls.TriggerIrqs(Kind, Number, 1);
}
