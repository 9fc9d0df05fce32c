using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A device without DMA of its own, such as a mediated one, that reaches an address space through the kernel (struct iommufd_access). Its driver owns
/// it.
/// </summary>
public sealed unsafe class IommufdAccess
{
    private readonly AccessObject _object;

    // Taken again by the callback of an unmap, which unpins.
    private readonly Lock _ioasLock = new();
    private IommufdIoas? _ioas;
    private IommufdIoas? _ioasUnpin;

    internal IommufdAccess(IommufdContext context, ulong iovaAlignment, Action<ulong, ulong>? unmap, bool isInternal)
    {
        Context = context;
        IovaAlignment = iovaAlignment;
        Unmap = unmap;
        IsInternal = isInternal;
        _object = new AccessObject(this);
    }

    /// <summary>Its id in the iommufd.</summary>
    public uint Id => _object.Id;

    /// <summary>The iommufd.</summary>
    public IommufdContext Context { get; }

    internal IommufdObject Object => _object;

    /// <summary>What IOVAs of the address space must be multiples of while this is attached: a page when the driver pins, else 1.</summary>
    internal ulong IovaAlignment { get; }

    /// <summary>Told IOVA and length of what is being unmapped; the driver unpins before it returns.</summary>
    internal Action<ulong, ulong>? Unmap { get; }

    /// <summary>True for accesses that the kernel made for itself: what they pin cannot be unmapped.</summary>
    internal bool IsInternal { get; }

    /// <summary>
    /// iommufd_access_attach: -EINVAL when attached already, -ENOENT for an unknown address space, -EADDRINUSE when its areas are not aligned enough.
    /// </summary>
    public int Attach(uint ioasId)
    {
        lock (_ioasLock)
        {
            return _ioas != null ? -Errno.EINVAL : ChangeIoas(ioasId);
        }
    }

    /// <summary>iommufd_access_replace: -ENOENT when nothing is attached.</summary>
    public int Replace(uint ioasId)
    {
        lock (_ioasLock)
        {
            return _ioas == null ? -Errno.ENOENT : ChangeIoas(ioasId);
        }
    }

    /// <summary>iommufd_access_detach: the driver is told to unpin everything.</summary>
    public void Detach()
    {
        lock (_ioasLock)
        {
            if (_ioas != null)
            {
                _ = ChangeIoas(null);
            }
        }
    }

    /// <summary>The driver stops using it (iommufd_access_destroy).</summary>
    public void Destroy() => Context.DestroyOwned(_object);

    /// <summary>
    /// Pins the pages behind a page-aligned range (iommufd_access_pin_pages): -ENOENT where nothing is mapped, -EPERM where the mapping does not
    /// permit the access, -EINVAL for a range that is being unmapped, -EFAULT.
    /// </summary>
    /// <param name="iova">First IOVA.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="pages">Receives the address in this process of each page.</param>
    /// <param name="write">True when the pages are going to be written.</param>
    public int PinPages(ulong iova, ulong length, Span<nint> pages, bool write)
    {
        if (length == 0)
        {
            return -Errno.EINVAL;
        }

        var last = iova + length - 1;
        if (last < iova)
        {
            return -Errno.EOVERFLOW;
        }

        lock (_ioasLock)
        {
            return _ioas == null ? -Errno.ENOENT : _ioas.Pagetable.PinAccess(iova, last, pages, write, IsInternal);
        }
    }

    /// <summary>Unpins exactly what <see cref="PinPages"/> pinned.</summary>
    public void UnpinPages(ulong iova, ulong length)
    {
        lock (_ioasLock)
        {
            _ioasUnpin?.Pagetable.UnpinAccess(iova, iova + length - 1, IsInternal);
        }
    }

    /// <summary>Copies bytes out of, or into, mapped memory (iommufd_access_rw). Errors as for <see cref="PinPages"/>.</summary>
    public int ReadWrite(ulong iova, void* data, ulong length, bool write)
    {
        if (length == 0)
        {
            return -Errno.EINVAL;
        }

        var last = iova + length - 1;
        if (last < iova)
        {
            return -Errno.EOVERFLOW;
        }

        lock (_ioasLock)
        {
            return _ioas == null ? -Errno.ENOENT : _ioas.Pagetable.CopyAccess(iova, last, (byte*)data, write);
        }
    }

    /// <summary>Attaches to an address space that the caller holds.</summary>
    internal int AttachInternal(IommufdIoas ioas)
    {
        lock (_ioasLock)
        {
            return _ioas != null ? -Errno.EINVAL : ChangeIoas(ioas);
        }
    }

    private int ChangeIoas(uint id)
    {
        if (Context.GetIoas(id) is not { } ioas)
        {
            return -Errno.ENOENT;
        }

        var rc = ChangeIoas(ioas);
        IommufdContext.PutObject(ioas);
        return rc;
    }

    private int ChangeIoas(IommufdIoas? next)
    {
        var current = _ioas;
        if (current != _ioasUnpin)
        {
            return -Errno.EBUSY;
        }

        if (current == next)
        {
            return 0;
        }

        // No pins from here on; unpinning still finds the old one.
        _ioas = null;
        if (next != null)
        {
            var rc = next.Pagetable.AddAccess(this);
            if (rc != 0)
            {
                _ioas = current;
                return rc;
            }

            next.AddUser();
        }

        if (current != null)
        {
            if (!IsInternal)
            {
                Unmap?.Invoke(0, ulong.MaxValue);
            }

            current.Pagetable.RemoveAccess(this);
            current.DropUser();
        }

        _ioas = next;
        _ioasUnpin = next;
        return 0;
    }

    /// <summary>The id in the table of objects.</summary>
    internal sealed class AccessObject(IommufdAccess access) : IommufdObject(IommufdObjectType.Access)
    {
        internal IommufdAccess Access { get; } = access;

        internal override void Destroy()
        {
            Access.Detach();
            if (!Access.IsInternal)
            {
                Access.Context.Put();
            }
        }
    }
}
