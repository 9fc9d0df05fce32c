using IommuFd;

namespace Guide;

/// <summary>Chapter 3: the device computes and interrupts.</summary>
public static class FirstInterrupt
{
    private const ulong FactorialOf = 0x08, Status = 0x20, InterruptStatus = 0x24, Acknowledge = 0x64;
    private const uint InterruptWhenComputed = 0x80;

    /// <summary>Lets the device compute a factorial.</summary>
    public static async Task<uint> RunAsync(BoundDevice device, Bar bar, uint n, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(bar);
        using InterruptSet interrupts = device.EnableInterrupts(InterruptKind.Msi);
        bar.Write32(Status, InterruptWhenComputed);
        bar.Write32(FactorialOf, n);
        _ = await interrupts[0].WaitAsync(cancellation);                          // or Wait(timeout) in the calling thread
        bar.Write32(Acknowledge, bar.Read32(InterruptStatus));
        return bar.Read32(FactorialOf);
    }
}
