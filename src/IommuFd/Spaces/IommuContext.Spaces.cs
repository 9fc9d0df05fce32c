namespace IommuFd;

public sealed partial class IommuContext
{
    internal CookieTable Cookies { get; } = new();

    /// <summary>
    /// Makes an empty root address space: one I/O page table, managed with map and unmap. It takes effect where a device is attached.
    /// </summary>
    /// <exception cref="IommuFdException">No memory.</exception>
    public IoAddressSpace CreateAddressSpace()
    {
        Enter();
        try
        {
            return new IoAddressSpace(this, CreateBackend());
        }
        catch
        {
            Exit();
            throw;
        }
    }

    /// <summary>What is behind a new space: a root, or with a parent's a child.</summary>
    internal IMappingBackend CreateBackend(IMappingBackend? parent = null) => Kind switch
    {
        ContextKind.Container => new ContainerSpace(),
        ContextKind.Rfc => new RfcBackend(this, AllocateIoasid((parent as RfcBackend)?.Ioasid ?? Native.Uapi.Rfc.IOMMU_IOASID_NO_PARENT),
            isChild: parent is not null),
        _ => new IoasBackend(AllocateIoas()),
    };
}
