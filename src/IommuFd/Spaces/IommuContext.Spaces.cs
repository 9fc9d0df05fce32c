namespace IommuFd;

public sealed partial class IommuContext
{
    internal CookieTable Cookies { get; } = new();

    /// <summary>Makes an empty root address space: one I/O page table, managed with map and unmap. It takes effect where a device is attached.</summary>
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

    internal IMappingBackend CreateBackend() => Kind == ContextKind.Container ? new ContainerSpace() : new IoasBackend(AllocateIoas());
}
