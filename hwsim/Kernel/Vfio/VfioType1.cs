using System.Buffers.Binary;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>The type 1 IOMMU of a container (struct vfio_iommu, drivers/vfio/vfio_iommu_type1.c): one address space for all of its groups.</summary>
/// <remarks>
/// Does not model: coalescing of pinned pages, and pages that drivers of mediated devices pin through a container.
/// </remarks>
internal sealed unsafe partial class VfioType1 : IDisposable
{
    private const ulong PageSize = 4096;
    private const ulong DirtyBitmapMaximum = 0x10000000;
    private readonly VfioCore _core;
    private readonly PhysicalMemory _memory;
    private readonly bool _isVersion2;
    private readonly Lock _lock = new();
    private readonly List<VfioGroup> _groups = [];
    private readonly List<VfioGroup> _emulated = [];
    private readonly SortedList<ulong, Mapping> _mappings = [];
    private IommuDomain? _domain;
    private bool _isCoherent;
    private List<(ulong First, ulong Last)> _ranges = [];
    private uint _available;
    private bool _isTrackingDirty;
    private int _invalidAddresses;

    public VfioType1(VfioCore core, PhysicalMemory memory, bool isVersion2)
    {
        _core = core;
        _memory = memory;
        _isVersion2 = isVersion2;
        _available = core.DmaEntryLimit;
    }

    /// <summary>Extensions that hold for every container.</summary>
    public static bool Supports(ulong extension) => extension is Vfio.VFIO_TYPE1_IOMMU or Vfio.VFIO_TYPE1v2_IOMMU or Vfio.VFIO_UNMAP_ALL;

    // The smallest page that every domain can map; with mediated devices alone, the page size.
    private ulong PageSizes => _domain is null ? ~(PageSize - 1) : _domain.PageSizeBitmap;

    private ulong SmallestPage => PageSizes & (0 - PageSizes);

    /// <summary>VFIO_CHECK_EXTENSION once the IOMMU is chosen.</summary>
    public int CheckExtension(ulong extension)
    {
        lock (_lock)
        {
            return extension switch
            {
                _ when Supports(extension) => 1,
                Vfio.VFIO_UPDATE_VADDR => _emulated.Count == 0 ? 1 : 0,
                Vfio.VFIO_DMA_CC_IOMMU => _domain is null || _isCoherent ? 1 : 0,
                _ => 0,
            };
        }
    }

    /// <summary>The commands of the container.</summary>
    public int Ioctl(uint request, ulong argument, IUserMemory user) => request switch
    {
        Vfio.VFIO_IOMMU_GET_INFO => GetInfo(argument, user),
        Vfio.VFIO_IOMMU_MAP_DMA => Map(argument, user),
        Vfio.VFIO_IOMMU_UNMAP_DMA => Unmap(argument, user),
        Vfio.VFIO_IOMMU_DIRTY_PAGES => DirtyPages(argument, user),
        _ => -Errno.ENOTTY,
    };

    /// <summary>A group joins: its devices use the container's domain, and its reserved ranges narrow what can be mapped.</summary>
    public int AttachGroup(VfioGroup group)
    {
        lock (_lock)
        {
            if (_invalidAddresses != 0)
            {
                return -Errno.EBUSY;
            }

            if (_groups.Contains(group) || _emulated.Contains(group))
            {
                return -Errno.EINVAL;
            }

            if (group.Type == VfioGroupType.EmulatedIommu)
            {
                _emulated.Add(group);
                return 0;
            }

            return AttachDomain(group);
        }
    }

    /// <summary>A group leaves; with the last one that has an IOMMU the mappings go.</summary>
    public void DetachGroup(VfioGroup group)
    {
        lock (_lock)
        {
            if (_emulated.Remove(group))
            {
                if (_emulated.Count == 0 && _groups.Count == 0)
                {
                    RemoveAll();
                }

                return;
            }

            if (!_groups.Remove(group))
            {
                return;
            }

            group.IommuGroup!.DetachGroup();
            if (_groups.Count == 0)
            {
                RemoveAll();
                _domain!.Free();
                _domain = null;
            }

            _ranges = Ranges(_groups);
        }
    }

    /// <summary>Frees everything.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            RemoveAll();
            _domain?.Free();
            _domain = null;
        }
    }

    private int AttachDomain(VfioGroup group)
    {
        IommuGroup iommuGroup = group.IommuGroup!;
        IommuDevice device = iommuGroup.Devices[0];
        IommuDomain? domain = _domain;
        int error = domain is null ? device.Ops!.DomainAllocPaging(device, 0, null, out domain) : 0;
        if (error < 0)
        {
            return error;
        }

        error = iommuGroup.AttachGroup(domain!);
        if (error == 0)
        {
            error = CheckGroup(group);
            if (error < 0)
            {
                iommuGroup.DetachGroup();
            }
        }

        if (error < 0)
        {
            if (_domain is null)
            {
                domain!.Free();
            }

            return error;
        }

        _ranges = Ranges([.. _groups, group]);
        _groups.Add(group);
        if (_domain is null)
        {
            MsiCookie.Give(domain!, device);
            _domain = domain;
            _isCoherent = domain!.EnforceCacheCoherency();
        }

        return 0;
    }

    private int CheckGroup(VfioGroup group)
    {
        foreach (IommuDevice device in group.IommuGroup!.Devices)
        {
            foreach (ReservedRegion region in device.ReservedRegions)
            {
                if (region.Type != ReservedRegionType.DirectRelaxable && Find(region.Start, region.Start + region.Length - 1) is not null)
                {
                    return -Errno.EINVAL;
                }
            }
        }

        return !group.IommuGroup.HasIsolatedMsi && !_core.Type1AllowUnsafeInterrupts ? -Errno.EPERM : 0;
    }

    // The domain's aperture without what the groups' devices reserve.
    private static List<(ulong First, ulong Last)> Ranges(List<VfioGroup> groups)
    {
        var ranges = new List<(ulong First, ulong Last)>();
        if (groups.Count == 0)
        {
            return ranges;
        }

        IommuDomain domain = groups[0].IommuGroup!.Domain!;
        ranges.Add((domain.ApertureStart, domain.ApertureEnd));
        foreach (ReservedRegion region in groups.SelectMany(static g => g.IommuGroup!.Devices).SelectMany(static d => d.ReservedRegions))
        {
            if (region.Type == ReservedRegionType.DirectRelaxable)
            {
                continue;
            }

            ulong end = region.Start + region.Length - 1;
            for (int i = ranges.Count - 1; i >= 0; i--)
            {
                (ulong first, ulong last) = ranges[i];
                if (region.Start > last || end < first)
                {
                    continue;
                }

                ranges.RemoveAt(i);
                if (end < last)
                {
                    ranges.Insert(i, (end + 1, last));
                }

                if (region.Start > first)
                {
                    ranges.Insert(i, (first, region.Start - 1));
                }
            }
        }

        return ranges;
    }

    private int GetInfo(ulong argument, IUserMemory user)
    {
        const uint minimum = 16; // through iova_pgsizes
        vfio_iommu_type1_info info = default;
        if (user.CopyFrom(argument, &info, minimum) < 0)
        {
            return -Errno.EFAULT;
        }

        if (info.argsz < minimum)
        {
            return -Errno.EINVAL;
        }

        uint size = Math.Min(info.argsz, (uint)sizeof(vfio_iommu_type1_info));
        var capabilities = new List<byte[]>();
        lock (_lock)
        {
            info.flags = Vfio.VFIO_IOMMU_INFO_PGSIZES | Vfio.VFIO_IOMMU_INFO_CAPS;
            info.iova_pgsizes = PageSizes;
            AddCapabilities(capabilities);
        }

        info.cap_offset = 0;
        int error = InfoCapabilities.CopyTo(capabilities, argument, (uint)sizeof(vfio_iommu_type1_info), ref info.argsz, ref info.cap_offset, user);
        return error < 0 ? error : user.CopyTo(argument, &info, size) < 0 ? -Errno.EFAULT : 0;
    }

    private void AddCapabilities(List<byte[]> capabilities)
    {
        byte[] migration = new byte[24];
        BinaryPrimitives.WriteUInt64LittleEndian(migration.AsSpan(8), SmallestPage);
        BinaryPrimitives.WriteUInt64LittleEndian(migration.AsSpan(16), DirtyBitmapMaximum);
        InfoCapabilities.Add(capabilities, Vfio.VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, migration);

        byte[] available = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(available, _available);
        InfoCapabilities.Add(capabilities, Vfio.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, available);
        if (_ranges.Count == 0)
        {
            return;
        }

        byte[] ranges = new byte[8 + (16 * _ranges.Count)];
        BinaryPrimitives.WriteInt32LittleEndian(ranges, _ranges.Count);
        for (int i = 0; i < _ranges.Count; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(ranges.AsSpan(8 + (16 * i)), _ranges[i].First);
            BinaryPrimitives.WriteUInt64LittleEndian(ranges.AsSpan(16 + (16 * i)), _ranges[i].Last);
        }

        InfoCapabilities.Add(capabilities, Vfio.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, ranges);
    }
}
