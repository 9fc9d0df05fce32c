using System.Runtime.InteropServices;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>mmap(2) of an iommufd: memory of its objects, at offsets that were given out.</summary>
public sealed partial class IommufdContext
{
    private const int ProtExec = 4;

    // By offset; guarded by itself.
    private readonly List<ViommuPages> _mmaps = [];

    /// <inheritdoc/>
    public override nint Mmap(nint address, nuint length, int protection, int flags, long offset)
    {
        var rc = MapSource(length, protection, flags, offset, out var descriptor);
        if (rc != 0)
        {
            return rc;
        }

        var mapped = Libc.Mmap(address, length, protection, flags, descriptor, offset);
        return mapped == -1 ? -Marshal.GetLastPInvokeError() : mapped;
    }

    /// <inheritdoc/>
    public override int MapSource(nuint length, int protection, int flags, long offset, out int descriptor)
    {
        descriptor = -1;
        if ((flags & Libc.MAP_SHARED) == 0)
        {
            return -Errno.EINVAL;
        }

        if ((protection & ProtExec) != 0)
        {
            return -Errno.EPERM;
        }

        lock (_mmaps)
        {
            var size = ((ulong)length + IoptPages.PageSize - 1) & ~(IoptPages.PageSize - 1);
            if (_mmaps.Find(m => m.Offset == (ulong)offset && m.Length == size) is not { } pages)
            {
                return -Errno.ENXIO;
            }

            descriptor = pages.Descriptor;
            return 0;
        }
    }

    /// <inheritdoc/>
    public override SimulatedFile ForMapping(long offset)
    {
        lock (_mmaps)
        {
            return _mmaps.Find(m => m.Offset == (ulong)offset) is { } pages ? new ViommuMapping(this, pages.Owner) : base.ForMapping(offset);
        }
    }

    // A mapping keeps the object whose memory it is, so that it cannot be destroyed.
    private sealed class ViommuMapping : SimulatedFile
    {
        private readonly IommufdContext _context;
        private readonly IommufdObject _owner;

        public ViommuMapping(IommufdContext context, IommufdObject owner)
        {
            _context = context;
            _owner = owner;
            context.Get();
            owner.AddUser();
        }

        protected override void Release()
        {
            _owner.DropUser();
            _context.Put();
        }
    }

    /// <summary>iommufd_viommu_alloc_mmap: the lowest free offset from one page on.</summary>
    internal ViommuPages AddMmap(IommufdObject owner, ulong length, uint firstWord)
    {
        lock (_mmaps)
        {
            var offset = IoptPages.PageSize;
            var at = 0;
            while (at < _mmaps.Count && _mmaps[at].Offset < offset + length)
            {
                offset = _mmaps[at].Offset + _mmaps[at].Length;
                at++;
            }

            var pages = new ViommuPages(owner, offset, length, firstWord);
            _mmaps.Insert(at, pages);
            return pages;
        }
    }

    internal void RemoveMmap(ViommuPages pages)
    {
        lock (_mmaps)
        {
            _mmaps.Remove(pages);
        }

        pages.Close();
    }
}
