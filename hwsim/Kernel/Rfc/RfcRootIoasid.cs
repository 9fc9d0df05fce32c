using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A root: its mappings are pages of the process, pinned and charged while a device is attached to it or to a child.</summary>
internal sealed class RfcRootIoasid(RfcContext context, uint addressWidth, RfcSnoop snoop) : RfcKernelIoasid(context, null, addressWidth, snoop)
{
    /// <inheritdoc/>
    internal override int Map(ulong iova, ulong address, ulong size, IommuProt prot, IUserMemory user)
    {
        int error = Context.Pools.MapUserPages(Pagetable, user, address, size, ref iova, prot | IommuProt.Cache, automatic: false);
        if (error < 0)
        {
            return error;
        }

        error = Propagate(iova, iova + size - 1, mapped: true);
        if (error < 0)
        {
            _ = Unmap(iova, iova + size - 1, null, out _);
        }

        return error;
    }

    /// <inheritdoc/>
    internal override int Unmap(ulong first, ulong last, DirtyBitmap? dirty, out ulong unmapped)
    {
        unmapped = 0;
        if (Pagetable.Cuts(first, last))
        {
            return -Errno.EINVAL;
        }

        if (dirty is not null)
        {
            ReadDirty(first, last, noClear: false, dirty);
        }

        // The shadows first: none may outlive what it was made from.
        _ = Propagate(first, last, mapped: false);
        return first == 0 && last == ulong.MaxValue ? Pagetable.UnmapAll(out unmapped) : Pagetable.Unmap(first, last - first + 1, out unmapped);
    }

    /// <inheritdoc/>
    internal override void Free()
    {
        _ = Pagetable.UnmapAll(out _);
        base.Free();
    }
}
