using System.Runtime.CompilerServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>Commands on address spaces (drivers/iommu/iommufd/ioas.c).</summary>
public sealed unsafe partial class IommufdContext
{
    private const uint MapFlags = (uint)(iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA | ReadWriteFlags);

    private const iommufd_ioas_map_flags ReadWriteFlags =
        iommufd_ioas_map_flags.IOMMU_IOAS_MAP_WRITEABLE | iommufd_ioas_map_flags.IOMMU_IOAS_MAP_READABLE;

    // Kept from finding all address spaces until CHANGE_PROCESS is done with them.
    private readonly Lock _ioasCreationLock = new();

    internal IommufdIoas? GetIoas(uint id) => GetObject<IommufdIoas>(id, IommufdObjectType.Ioas);

    private int IoasAlloc(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_ioas_alloc>();
        if (cmd.flags != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        var ioas = new IommufdIoas(this);
        Reserve(ioas);
        cmd.out_ioas_id = ioas.Id;
        var rc = ucmd.Respond<iommu_ioas_alloc>();
        if (rc != 0)
        {
            AbortAndDestroy(ioas);
            return rc;
        }

        lock (_ioasCreationLock)
        {
            Publish(ioas);
        }

        return 0;
    }

    private int IoasIovaRanges(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_ioas_iova_ranges>();
        if (cmd.__reserved != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (GetIoas(cmd.ioas_id) is not { } ioas)
        {
            return -Errno.ENOENT;
        }

        var rc = IoasIovaRanges(ref ucmd, ref cmd, ioas.Pagetable);
        PutObject(ioas);
        return rc;
    }

    private static int IoasIovaRanges(ref Ucmd ucmd, ref iommu_ioas_iova_ranges cmd, IoPagetable pagetable)
    {
        lock (pagetable.Lock)
        {
            var room = cmd.num_iovas;
            cmd.num_iovas = 0;
            cmd.out_iova_alignment = pagetable.IovaAlignment;
            ulong at = 0;
            while (pagetable.Reserved.NextHole(at, out var first, out var last))
            {
                if (cmd.num_iovas < room)
                {
                    var range = new iommu_iova_range { start = first, last = last };
                    if (ucmd.User.CopyTo(cmd.allowed_iovas + ((ulong)cmd.num_iovas * (uint)sizeof(iommu_iova_range)), &range,
                        (nuint)sizeof(iommu_iova_range)) != 0)
                    {
                        return -Errno.EFAULT;
                    }
                }

                cmd.num_iovas++;
                if (last == ulong.MaxValue)
                {
                    break;
                }

                at = last + 1;
            }

            var rc = ucmd.Respond<iommu_ioas_iova_ranges>();
            return rc == 0 && cmd.num_iovas > room ? -Errno.EMSGSIZE : rc;
        }
    }

    private int IoasAllowIovas(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_ioas_allow_iovas>();
        if (cmd.__reserved != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (GetIoas(cmd.ioas_id) is not { } ioas)
        {
            return -Errno.ENOENT;
        }

        var allowed = new List<IoPagetable.AllowedRange>();
        var rc = 0;
        for (uint i = 0; i != cmd.num_iovas && rc == 0; i++)
        {
            iommu_iova_range range;
            if (ucmd.User.CopyFrom(cmd.allowed_iovas + ((ulong)i * (uint)sizeof(iommu_iova_range)), &range, (nuint)sizeof(iommu_iova_range)) != 0)
            {
                rc = -Errno.EFAULT;
                break;
            }

            // A range of one IOVA is refused too.
            var start = range.start;
            var at = allowed.FindIndex(a => a.First > start);
            at = at < 0 ? allowed.Count : at;
            if (range.start >= range.last || (at > 0 && allowed[at - 1].Last >= range.start)
                || (at < allowed.Count && allowed[at].First <= range.last))
            {
                rc = -Errno.EINVAL;
                break;
            }

            allowed.Insert(at, new IoPagetable.AllowedRange(range.start, range.last));
        }

        if (rc == 0)
        {
            rc = ioas.Pagetable.SetAllowed(allowed);
        }

        PutObject(ioas);
        return rc;
    }

    private int IoasMap(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_ioas_map>();
        if ((cmd.flags & ~MapFlags) != 0 || cmd.__reserved != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (cmd.iova == ulong.MaxValue || cmd.length == ulong.MaxValue)
        {
            return -Errno.EOVERFLOW;
        }

        if (((iommufd_ioas_map_flags)cmd.flags & ReadWriteFlags) == 0)
        {
            return -Errno.EINVAL;
        }

        if (GetIoas(cmd.ioas_id) is not { } ioas)
        {
            return -Errno.ENOENT;
        }

        var iova = cmd.iova;
        var rc = MapUserPages(ioas.Pagetable, ucmd.User, cmd.user_va, cmd.length, ref iova, ProtOf(cmd.flags), IsAutomatic(cmd.flags));
        if (rc == 0)
        {
            cmd.iova = iova;
            rc = ucmd.Respond<iommu_ioas_map>();
        }

        PutObject(ioas);
        return rc;
    }

    /// <summary>Maps memory of the process (iopt_map_user_pages).</summary>
    internal int MapUserPages(IoPagetable pagetable, IUserMemory user, ulong address, ulong length, ref ulong iova, IommuProt prot, bool automatic)
    {
        if (address + length < address)
        {
            return -Errno.EOVERFLOW;
        }

        var startByte = address % IoptPages.PageSize;
        var rc = NewPages(user.PagesAt(address - startByte, length + startByte, withDevices: false), address - startByte, startByte, length,
            (prot & IommuProt.Write) != 0, out var pages);
        return rc != 0 ? rc : pagetable.MapPages(pages!, startByte, length, ref iova, prot, automatic);
    }

    private int IoasCopy(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_ioas_copy>();
        if ((cmd.flags & ~MapFlags) != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (cmd.length == ulong.MaxValue || cmd.src_iova == ulong.MaxValue || cmd.dst_iova == ulong.MaxValue)
        {
            return -Errno.EOVERFLOW;
        }

        if (((iommufd_ioas_map_flags)cmd.flags & ReadWriteFlags) == 0)
        {
            return -Errno.EINVAL;
        }

        if (GetIoas(cmd.src_ioas_id) is not { } source)
        {
            return -Errno.ENOENT;
        }

        var slices = RentSlices();
        var rc = source.Pagetable.GetPages(cmd.src_iova, cmd.length, slices);
        PutObject(source);
        if (rc != 0)
        {
            ReturnSlices(slices);
            return rc;
        }

        if (GetIoas(cmd.dst_ioas_id) is not { } destination)
        {
            PutSlices(slices);
            ReturnSlices(slices);
            return -Errno.ENOENT;
        }

        var iova = cmd.dst_iova;
        rc = destination.Pagetable.MapSlices(
            System.Runtime.InteropServices.CollectionsMarshal.AsSpan(slices), cmd.length, ref iova, ProtOf(cmd.flags), IsAutomatic(cmd.flags));
        if (rc == 0)
        {
            cmd.dst_iova = iova;
            rc = ucmd.Respond<iommu_ioas_copy>();
        }
        else
        {
            PutSlices(slices);
        }

        ReturnSlices(slices);
        PutObject(destination);
        return rc;
    }

    private int IoasUnmap(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_ioas_unmap>();
        if (GetIoas(cmd.ioas_id) is not { } ioas)
        {
            return -Errno.ENOENT;
        }

        int rc;
        ulong unmapped = 0;
        if (cmd.iova == 0 && cmd.length == ulong.MaxValue)
        {
            rc = ioas.Pagetable.UnmapAll(out unmapped);
        }
        else if (cmd.iova == ulong.MaxValue || cmd.length == ulong.MaxValue)
        {
            rc = -Errno.EOVERFLOW;
        }
        else
        {
            rc = ioas.Pagetable.Unmap(cmd.iova, cmd.length, out unmapped);
            if (rc == 0 && unmapped == 0)
            {
                rc = -Errno.ENOENT;
            }
        }

        if (rc == 0)
        {
            cmd.length = unmapped;
            rc = ucmd.Respond<iommu_ioas_unmap>();
        }

        PutObject(ioas);
        return rc;
    }

    private static bool IsAutomatic(uint flags) => (flags & (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA) == 0;

    // conv_iommu_prot
    private static IommuProt ProtOf(uint flags)
    {
        var prot = IommuProt.Cache;
        if ((flags & (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_WRITEABLE) != 0)
        {
            prot |= IommuProt.Write;
        }

        if ((flags & (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_READABLE) != 0)
        {
            prot |= IommuProt.Read;
        }

        return prot;
    }
}
