using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

internal sealed unsafe partial class VfioType1
{
    /// <summary>One mapping (struct vfio_dma): pages of the process from one IOVA on.</summary>
    private sealed class Mapping
    {
        public required ulong Iova { get; init; }

        public required ulong Size { get; init; }

        public required IoptPages? Pages { get; init; }

        /// <summary>True after its virtual address was taken away and before a new one is given.</summary>
        public bool IsInvalid { get; set; }

        public ulong Last => Iova + Size - 1;
    }

    private int Map(ulong argument, IUserMemory user)
    {
        vfio_iommu_type1_dma_map map;
        if (user.CopyFrom(argument, &map, (nuint)sizeof(vfio_iommu_type1_dma_map)) < 0)
        {
            return -Errno.EFAULT;
        }

        const uint known = Vfio.VFIO_DMA_MAP_FLAG_READ | Vfio.VFIO_DMA_MAP_FLAG_WRITE | Vfio.VFIO_DMA_MAP_FLAG_VADDR;
        if (map.argsz < sizeof(vfio_iommu_type1_dma_map) || (map.flags & ~known) != 0 || map.size == 0)
        {
            return -Errno.EINVAL;
        }

        ulong last = map.iova + map.size - 1;
        if (last < map.iova || map.vaddr + map.size - 1 < map.vaddr)
        {
            return -Errno.EOVERFLOW;
        }

        IommuProt prot = ((map.flags & Vfio.VFIO_DMA_MAP_FLAG_WRITE) != 0 ? IommuProt.Write : 0)
            | ((map.flags & Vfio.VFIO_DMA_MAP_FLAG_READ) != 0 ? IommuProt.Read : 0);
        bool isUpdate = (map.flags & Vfio.VFIO_DMA_MAP_FLAG_VADDR) != 0;
        if (isUpdate == (prot != 0))
        {
            return -Errno.EINVAL;
        }

        lock (_lock)
        {
            if (((map.size | map.iova | map.vaddr) & (SmallestPage - 1)) != 0)
            {
                return -Errno.EINVAL;
            }

            Mapping? found = Find(map.iova, last);
            if (isUpdate)
            {
                return UpdateAddress(found, map);
            }

            if (found is not null)
            {
                return -Errno.EEXIST;
            }

            if (_available == 0)
            {
                return -Errno.ENOSPC;
            }

            return IsPermitted(map.iova, last) ? PinAndMap(map, prot, user) : -Errno.EINVAL;
        }
    }

    // With mediated devices alone nothing limits the addresses.
    private bool IsPermitted(ulong first, ulong last) => _ranges.Count == 0 || _ranges.Exists(range => first >= range.First && last <= range.Last);

    private int UpdateAddress(Mapping? found, in vfio_iommu_type1_dma_map map)
    {
        if (found is null)
        {
            return -Errno.ENOENT;
        }

        if (!found.IsInvalid || found.Iova != map.iova || found.Size != map.size)
        {
            return -Errno.EINVAL;
        }

        // The pages stay pinned where they are: the new address must lead to the same memory, which is the caller's promise.
        found.IsInvalid = false;
        _invalidAddresses--;
        return 0;
    }

    private int PinAndMap(in vfio_iommu_type1_dma_map map, IommuProt prot, IUserMemory user)
    {
        IoptPages? pages = null;
        if (_domain is not null)
        {
            pages = new IoptPages();
            pages.Init(user.PagesAt(map.vaddr, map.size, withDevices: true), map.vaddr, map.size / PageSize, (prot & IommuProt.Write) != 0);
            if (pages.Mode != AccountMode.None)
            {
                pages.Mode = AccountMode.Process;
            }

            int error = pages.AddCover(_memory, 0, pages.PageCount - 1, out ulong pinned);
            if (error == 0)
            {
                error = pages.Charge(pinned);
                if (error == 0)
                {
                    var area = new IoptArea { Iova = map.iova, LastIova = map.iova + map.size - 1, Prot = prot | IommuProt.Cache };
                    error = pages.MapInto(_memory, _domain, area, _core.Type1DisableHugePages);
                    if (error < 0)
                    {
                        pages.Uncharge(pinned);
                    }
                }

                if (error < 0)
                {
                    _ = pages.RemoveCover(_memory, 0, pages.PageCount - 1);
                }
            }

            if (error < 0)
            {
                return error;
            }
        }

        _available--;
        _mappings.Add(map.iova, new Mapping { Iova = map.iova, Size = map.size, Pages = pages });
        return 0;
    }

    private int Unmap(ulong argument, IUserMemory user)
    {
        vfio_iommu_type1_dma_unmap unmap;
        uint size = (uint)sizeof(vfio_iommu_type1_dma_unmap);
        if (user.CopyFrom(argument, &unmap, size) < 0)
        {
            return -Errno.EFAULT;
        }

        const uint bitmap = Vfio.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, all = Vfio.VFIO_DMA_UNMAP_FLAG_ALL, vaddr = Vfio.VFIO_DMA_UNMAP_FLAG_VADDR;
        if (unmap.argsz < size || (unmap.flags & ~(bitmap | all | vaddr)) != 0 || ((unmap.flags & bitmap) != 0 && (unmap.flags & (all | vaddr)) != 0))
        {
            return -Errno.EINVAL;
        }

        vfio_bitmap dirty = default;
        if ((unmap.flags & bitmap) != 0)
        {
            int error = CopyBitmap(argument + size, unmap.argsz - size, unmap.size, &dirty, user);
            if (error < 0)
            {
                return error;
            }
        }

        int result;
        lock (_lock)
        {
            result = Unmap(ref unmap, dirty, user);
        }

        return result < 0 ? result : user.CopyTo(argument, &unmap, size) < 0 ? -Errno.EFAULT : 0;
    }

    private int Unmap(ref vfio_iommu_type1_dma_unmap unmap, in vfio_bitmap dirty, IUserMemory user)
    {
        bool all = (unmap.flags & Vfio.VFIO_DMA_UNMAP_FLAG_ALL) != 0, vaddr = (unmap.flags & Vfio.VFIO_DMA_UNMAP_FLAG_VADDR) != 0;
        if (vaddr && _emulated.Count != 0)
        {
            return -Errno.EBUSY;
        }

        ulong page = SmallestPage, iova = unmap.iova, last = ulong.MaxValue;
        if ((iova & (page - 1)) != 0 || (all ? (iova | unmap.size) != 0 : unmap.size == 0 || (unmap.size & (page - 1)) != 0))
        {
            return -Errno.EINVAL;
        }

        if (!all)
        {
            last = iova + unmap.size - 1;
            if (last < iova)
            {
                return -Errno.EOVERFLOW;
            }
        }

        bool wantsBitmap = (unmap.flags & Vfio.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) != 0;
        if (wantsBitmap && (!_isTrackingDirty || dirty.pgsize != page))
        {
            return -Errno.EINVAL;
        }

        // Version 2 never cuts a mapping; version 1 takes every mapping that begins in the range whole.
        if (_isVersion2 && !all && ((Find(iova, iova) is { } first && first.Iova != iova) || (Find(last, last) is { } end && end.Last != last)))
        {
            return -Errno.EINVAL;
        }

        Mapping[] affected = Between(iova, last);
        unmap.size = 0;
        if (vaddr)
        {
            return Invalidate(affected, iova, ref unmap.size);
        }

        foreach (Mapping mapping in affected)
        {
            if (!_isVersion2 && iova > mapping.Iova)
            {
                break;
            }

            if (wantsBitmap)
            {
                int error = Report(mapping, iova, dirty.data, page, user);
                if (error < 0)
                {
                    return error;
                }
            }

            unmap.size += mapping.Size;
            Remove(mapping);
        }

        return 0;
    }

    private int Invalidate(Mapping[] affected, ulong iova, ref ulong unmapped)
    {
        for (int i = 0; i < affected.Length; i++)
        {
            if (!_isVersion2 && iova > affected[i].Iova)
            {
                break;
            }

            if (affected[i].IsInvalid)
            {
                while (--i >= 0)
                {
                    affected[i].IsInvalid = false;
                    _invalidAddresses--;
                }

                unmapped = 0;
                return -Errno.EINVAL;
            }

            affected[i].IsInvalid = true;
            _invalidAddresses++;
            unmapped += affected[i].Size;
        }

        return 0;
    }

    private void Remove(Mapping mapping)
    {
        if (mapping.Pages is { } pages)
        {
            _ = _domain!.Unmap(mapping.Iova, mapping.Size);
            pages.Uncharge(pages.RemoveCover(_memory, 0, pages.PageCount - 1));
        }

        if (mapping.IsInvalid)
        {
            _invalidAddresses--;
        }

        _mappings.Remove(mapping.Iova);
        _available++;
    }

    private void RemoveAll()
    {
        foreach (Mapping mapping in _mappings.Values.ToArray())
        {
            Remove(mapping);
        }
    }

    // Any mapping that meets the range.
    private Mapping? Find(ulong first, ulong last)
    {
        int at = FirstAfter(last) - 1;
        return at >= 0 && _mappings.Values[at].Last >= first ? _mappings.Values[at] : null;
    }

    private Mapping[] Between(ulong first, ulong last)
    {
        var found = new List<Mapping>();
        for (int i = FirstAfter(last) - 1; i >= 0 && _mappings.Values[i].Last >= first; i--)
        {
            found.Add(_mappings.Values[i]);
        }

        found.Reverse();
        return [.. found];
    }

    // Index of the first mapping that begins beyond an address.
    private int FirstAfter(ulong address)
    {
        int low = 0, high = _mappings.Count;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (_mappings.Keys[middle] <= address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
