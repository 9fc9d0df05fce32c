using System.Runtime.InteropServices;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Iommufd;

namespace IommuFd;

public sealed unsafe partial class Ioas
{
    /// <summary>IOMMU_IOAS_COPY with an IOVA that the kernel chooses: the memory of a mapping of another address space, pinned only once.</summary>
    /// <param name="source">Where the memory is mapped.</param>
    /// <param name="sourceIova">Start there.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="access">What devices may do here; no more than there.</param>
    /// <returns>The IOVA here.</returns>
    /// <exception cref="IommuFdException">ENOENT not mapped there as a whole, EPERM write asked for a read-only mapping.</exception>
    public ulong Copy(Ioas source, ulong sourceIova, ulong length, DmaAccess access) => Copy(source, sourceIova, length, (uint)access, 0);

    /// <summary>IOMMU_IOAS_COPY at an IOVA that the caller chooses.</summary>
    /// <exception cref="IommuFdException">As above, and EEXIST when something is mapped here.</exception>
    public void CopyFixed(Ioas source, ulong sourceIova, ulong length, DmaAccess access, ulong iova) =>
        _ = Copy(source, sourceIova, length, (uint)access | (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA, iova);

    /// <summary>IOMMU_IOAS_MAP_FILE: maps a part of a memfd or of a dma-buf.</summary>
    /// <param name="file">The memfd or dma-buf.</param>
    /// <param name="start">Where the part starts, in bytes.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="access">What devices may do.</param>
    /// <param name="iova">Where, or null to let the kernel choose.</param>
    /// <returns>The IOVA.</returns>
    /// <exception cref="IommuFdException">EBADF neither a memfd nor a dma-buf, EINVAL alignment or IOVA, EEXIST something is mapped
    /// there.</exception>
    public ulong MapFile(SafeHandle file, ulong start, ulong length, DmaAccess access, ulong? iova = null)
    {
        ArgumentNullException.ThrowIfNull(file);
        bool held = false;
        try
        {
            file.DangerousAddRef(ref held); // the number stays valid for the call; the kernel keeps the memory on its own
            iommu_ioas_map_file command = new()
            {
                size = (uint)sizeof(iommu_ioas_map_file),
                flags = (uint)access | (iova is null ? 0 : (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA),
                ioas_id = Id,
                fd = (int)file.DangerousGetHandle(),
                start = start,
                length = length,
                iova = iova ?? 0,
            };
            Enter();
            int result = _context.Call(IOMMU_IOAS_MAP_FILE, ref command);
            Exit();
            return result >= 0
                ? command.iova
                : throw Failure.Of(nameof(IOMMU_IOAS_MAP_FILE), result, Evidence.Hex("start", start), Evidence.Hex("length", length),
                    Evidence.Hex("iova", iova ?? 0));
        }
        finally
        {
            if (held)
            {
                file.DangerousRelease();
            }
        }
    }

    /// <summary>IOMMU_IOAS_NOIOMMU_GET_PA: the physical address behind an IOVA, for devices without an IOMMU (kernel 7.3).</summary>
    /// <param name="iova">The IOVA.</param>
    /// <param name="length">Most bytes of interest, not 0.</param>
    /// <param name="contiguous">Bytes that are physically contiguous from there, at most <paramref name="length"/>.</param>
    /// <returns>The physical address.</returns>
    /// <exception cref="IommuFdException">ENOENT not mapped, EOPNOTSUPP or EPERM the address space is not of a device without an IOMMU.</exception>
    public ulong GetNoIommuPhysicalAddress(ulong iova, ulong length, out ulong contiguous)
    {
        iommu_ioas_noiommu_get_pa command = new() { size = (uint)sizeof(iommu_ioas_noiommu_get_pa), ioas_id = Id, iova = iova, length = length };
        Enter();
        int result = _context.Call(IOMMU_IOAS_NOIOMMU_GET_PA, ref command);
        Exit();
        contiguous = command.length;
        return result >= 0 ? command.out_phys : throw Failure.Of(nameof(IOMMU_IOAS_NOIOMMU_GET_PA), result, Evidence.Hex("iova", iova));
    }

    private ulong Copy(Ioas source, ulong sourceIova, ulong length, uint flags, ulong iova)
    {
        ArgumentNullException.ThrowIfNull(source);
        ulong where = iova;
        int result = CopyCall(source, sourceIova, length, flags, ref where);
        return result >= 0
            ? where
            : throw Failure.Of(nameof(IOMMU_IOAS_COPY), result, Evidence.Hex("src_iova", sourceIova), Evidence.Hex("length", length),
                Evidence.Hex("dst_iova", iova));
    }

    internal int CopyCall(Ioas source, ulong sourceIova, ulong length, uint flags, ref ulong iova)
    {
        iommu_ioas_copy command = new()
        {
            size = (uint)sizeof(iommu_ioas_copy), flags = flags, dst_ioas_id = Id, src_ioas_id = source.Id, length = length,
            dst_iova = iova, src_iova = sourceIova,
        };
        Enter();
        int result = _context.Call(IOMMU_IOAS_COPY, ref command);
        Exit();
        iova = command.dst_iova;
        return result;
    }
}
