namespace IommuFd;

public sealed partial class IommuContext
{
    internal CookieTable Cookies { get; } = new();

    /// <summary>Makes an empty root address space: one I/O page table, managed with map and unmap. It takes effect where a device is attached.</summary>
    /// <exception cref="IommuFdException">No memory.</exception>
    public IoAddressSpace CreateAddressSpace()
    {
        if (Kind == ContextKind.Container)
        {
            Enter();
            return new IoAddressSpace(this, new ContainerSpace());
        }

        Ioas ioas = AllocateIoas();
        bool entered = false;
        try
        {
            Enter();
            entered = true;
            return new IoAddressSpace(this, ioas);
        }
        catch
        {
            ioas.Dispose();
            if (entered)
            {
                Exit();
            }

            throw;
        }
    }
}
