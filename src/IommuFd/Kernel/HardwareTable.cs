namespace IommuFd;

/// <summary>A hardware page table object (HWPT): what a device can be attached to besides an address space.</summary>
public abstract class HardwareTable : Resource
{
    private readonly FaultQueue? _faults;

    private protected HardwareTable(IommuContext context, Resource from, uint id, FaultQueue? faults)
        : base(from, faults)
    {
        Context = context;
        Id = id;
        _faults = faults;
    }

    /// <summary>The object id, as attach takes it.</summary>
    public uint Id { get; }

    /// <summary>The context it belongs to.</summary>
    public IommuContext Context { get; }

    /// <summary>Where page requests of devices attached to it go, or null.</summary>
    public FaultQueue? Faults => _faults;

    private protected override void Free() => _ = Context.Destroy(Id);
}
