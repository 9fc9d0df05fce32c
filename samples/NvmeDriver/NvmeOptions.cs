namespace NvmeDriver;

/// <summary>How a controller is used.</summary>
public sealed record NvmeOptions
{
    /// <summary>I/O queue pairs that are wanted; the controller may give fewer.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Commands that a queue pair holds at a time, 1 to 1023; the controller may allow fewer.</summary>
    public int Depth { get; init; } = 63;

    /// <summary>A queue pair completes by its own MSI-X vector; without it somebody has to call <see cref="NvmeQueue.Poll"/>.</summary>
    public bool Interrupts { get; init; } = true;

    /// <summary>Data is described by SGL descriptors where the controller has them, else by PRP lists.</summary>
    public bool Sgl { get; init; }

    /// <summary>Doorbells are written to memory where the controller has shadow doorbells (Doorbell Buffer Config), and to registers only when it asks.</summary>
    public bool ShadowDoorbells { get; init; }
}
