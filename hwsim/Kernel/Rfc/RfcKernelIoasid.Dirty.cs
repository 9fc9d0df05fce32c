using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>Dirty tracking: of the space's own tables, and of the shadows below it, whose pages are the space's.</summary>
internal abstract partial class RfcKernelIoasid
{
    /// <summary>True while the space, or one above it, is tracked.</summary>
    internal bool IsTracking { get; private set; }

    /// <summary>Starts or stops; -EOPNOTSUPP when a table that is in use cannot.</summary>
    internal int SetTracking(bool enable)
    {
        foreach (IommuDomain domain in Domains())
        {
            int error = Pagetable.SetDirtyTracking(domain, enable);
            if (error < 0)
            {
                return error;
            }
        }

        IsTracking = enable;
        foreach (RfcShadowIoasid child in Children.OfType<RfcShadowIoasid>())
        {
            int error = child.SetTracking(enable);
            if (error < 0)
            {
                return error;
            }
        }

        return 0;
    }

    /// <summary>Reports the pages of a range that were written.</summary>
    internal void ReadDirty(ulong first, ulong last, bool noClear, DirtyBitmap dirty)
    {
        foreach (IommuDomain domain in Domains())
        {
            Pagetable.ReadDirty(domain, first, last, noClear, dirty);
        }

        foreach (RfcShadowIoasid child in Children.OfType<RfcShadowIoasid>())
        {
            child.ReadDirtyOfParent(first, last, noClear, dirty);
        }
    }

    private IEnumerable<IommuDomain> Domains()
    {
        if (_domain is not null)
        {
            yield return _domain;
        }

        if (_nestParent is not null)
        {
            yield return _nestParent;
        }
    }
}
