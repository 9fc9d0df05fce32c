namespace IommuFd.HwSim.Kernel;

/// <summary>The types of objects that share the id space of an iommufd (enum iommufd_object_type).</summary>
internal enum IommufdObjectType
{
    /// <summary>In a lookup: any type.</summary>
    Any,
    Device,
    HwptPaging,
    HwptNested,
    Ioas,
    Access,
    Fault,
    Viommu,
    Vdevice,
    Veventq,
    HwQueue,
    Selftest,
}

/// <summary>
/// Anything that has an id in an iommufd (struct iommufd_object). <see cref="Users"/> counts what refers to the object: one for being published, one
/// for each other object and running call. User space can destroy it only while the publication alone is left.
/// </summary>
internal abstract class IommufdObject(IommufdObjectType type)
{
    internal int Users = 1;

    /// <summary>Calls that use the object right now, plus one while it is published.</summary>
    internal int WaitCount = 1;

    internal IommufdObjectType Type { get; } = type;

    internal uint Id { get; set; }

    internal void AddUser() => Interlocked.Increment(ref Users);

    internal void AddUsers(int count) => Interlocked.Add(ref Users, count);

    internal void DropUser() => Interlocked.Decrement(ref Users);

    /// <summary>Its file, which goes first when a half-made object is taken back.</summary>
    internal virtual SimulatedFile? File => null;

    /// <summary>Makes others let go of the object before it is waited for.</summary>
    internal virtual void PreDestroy()
    {
    }

    /// <summary>Lets go of everything. Runs once, when nobody uses the object any more.</summary>
    internal abstract void Destroy();

    /// <summary>Takes back an object that was never published; the maker's locks are held.</summary>
    internal virtual void Abort() => Destroy();
}
