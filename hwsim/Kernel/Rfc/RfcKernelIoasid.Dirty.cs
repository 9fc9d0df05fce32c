namespace IommuFd.HwSim.Kernel;

/// <summary>Dirty tracking: of the space's own tables, and of the shadows below it, whose pages are the space's.</summary>
internal abstract partial class RfcKernelIoasid
{
    private bool _isTracked, _isApplied;

    /// <summary>True while the space, or one above it, is tracked.</summary>
    internal bool IsTracking => _isTracked || Parent is RfcKernelIoasid { IsTracking: true };

    /// <summary>Starts or stops; -EOPNOTSUPP when a table that is in use cannot: then nothing changed.</summary>
    internal int SetTracking(bool enable)
    {
        bool before = _isTracked;
        _isTracked = enable;
        int error = ApplyTracking();
        if (error < 0)
        {
            _isTracked = before;
            _ = ApplyTracking();
        }

        return error;
    }

    /// <summary>Reports the pages of a range that were written.</summary>
    internal void ReadDirty(ulong first, ulong last, bool noClear, DirtyBitmap dirty)
    {
        if (_domain is not null)
        {
            Pagetable.ReadDirty(_domain, first, last, noClear, dirty);
        }

        if (_nestParent is not null)
        {
            Pagetable.ReadDirty(_nestParent, first, last, noClear, dirty);
        }

        foreach (RfcIoasid child in Children)
        {
            (child as RfcShadowIoasid)?.ReadDirtyOfParent(first, last, noClear, dirty);
        }
    }

    // Switching on makes everything clean, so that what is on already is left alone.
    private int ApplyTracking()
    {
        bool wanted = IsTracking;
        if (wanted != _isApplied)
        {
            int error = _domain is null ? 0 : Pagetable.SetDirtyTracking(_domain, wanted);
            error = error < 0 || _nestParent is null ? error : Pagetable.SetDirtyTracking(_nestParent, wanted);
            if (error < 0)
            {
                return error;
            }

            _isApplied = wanted;
        }

        foreach (RfcIoasid child in Children)
        {
            int error = (child as RfcKernelIoasid)?.ApplyTracking() ?? 0;
            if (error < 0)
            {
                return error;
            }
        }

        return 0;
    }
}
