namespace IommuFd.Sysfs;

/// <summary>Which driver a function had, and which <c>driver_override</c>.</summary>
/// <param name="Address">The function.</param>
/// <param name="Driver">The driver's name, or null for none.</param>
/// <param name="Override">The override, or null for none.</param>
public sealed record OriginalBinding(PciAddress Address, string? Driver, string? Override);

/// <summary>
/// What a <see cref="DriverBinder"/> must not forget: the state before a change that is under way (the journal), and the driver that each
/// function had before it was given away.
/// </summary>
public interface IBindingStore
{
    /// <summary>Opens a transaction. On return the state before it is safe against the death of this process.</summary>
    /// <param name="before">The state of every function that will be changed.</param>
    /// <returns>0, -EBUSY while another process has a transaction open, or -errno of the storage.</returns>
    int Begin(IReadOnlyList<OriginalBinding> before);

    /// <summary>Closes the transaction: the new state is now the wanted one.</summary>
    void Commit();

    /// <summary>Remembers what a function had before it was given away.</summary>
    void Remember(OriginalBinding original);

    /// <summary>What a function had before it was given away, or null.</summary>
    OriginalBinding? Recall(PciAddress address);

    /// <summary>Drops what is remembered about a function.</summary>
    void Forget(PciAddress address);

    /// <summary>Every function of which something is remembered.</summary>
    IReadOnlyList<OriginalBinding> Remembered();

    /// <summary>The state before a transaction that its process did not live to close; empty when there is none.</summary>
    IReadOnlyList<OriginalBinding> Unfinished();
}

/// <summary>A store as long-lived as this object: for simulated machines, which live no longer themselves.</summary>
public sealed class MemoryBindingStore : IBindingStore
{
    private readonly Dictionary<PciAddress, OriginalBinding> _remembered = [];
    private IReadOnlyList<OriginalBinding> _before = [];

    /// <inheritdoc/>
    public int Begin(IReadOnlyList<OriginalBinding> before)
    {
        _before = before;
        return 0;
    }

    /// <inheritdoc/>
    public void Commit() => _before = [];

    /// <inheritdoc/>
    public void Remember(OriginalBinding original) => _remembered[original.Address] = original;

    /// <inheritdoc/>
    public OriginalBinding? Recall(PciAddress address) => _remembered.GetValueOrDefault(address);

    /// <inheritdoc/>
    public void Forget(PciAddress address) => _remembered.Remove(address);

    /// <inheritdoc/>
    public IReadOnlyList<OriginalBinding> Remembered() => [.. _remembered.Values.OrderBy(static original => original.Address)];

    /// <inheritdoc/>
    public IReadOnlyList<OriginalBinding> Unfinished() => _before;
}
