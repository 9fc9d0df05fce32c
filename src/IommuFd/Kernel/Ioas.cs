using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Iommufd;

namespace IommuFd;

/// <summary>
/// The kernel's I/O address space object: which IOVA stands for which memory. It takes effect where a device is attached. This is the kernel's level:
/// addresses are numbers and nobody keeps the memory alive; <see cref="IoAddressSpace"/> does.
/// </summary>
public sealed unsafe partial class Ioas : Resource
{
    private readonly IommuContext _context;

    internal Ioas(IommuContext context, uint id)
        : base(context)
    {
        _context = context;
        Id = id;
    }

    /// <summary>The object id, as attach and HWPT allocation take it.</summary>
    public uint Id { get; }

    /// <summary>The context it belongs to.</summary>
    public IommuContext Context => _context;

    /// <summary>IOMMU_IOAS_MAP with an IOVA that the kernel chooses. Allocates nothing.</summary>
    /// <param name="address">Process address of the first byte, page-aligned.</param>
    /// <param name="length">Bytes, a multiple of the alignment of <see cref="GetIovaRanges"/>.</param>
    /// <param name="access">What devices may do.</param>
    /// <returns>The IOVA.</returns>
    /// <exception cref="IommuFdException">EFAULT memory, ENOMEM limit, ENOSPC no room, EINVAL alignment.</exception>
    public ulong Map(nint address, ulong length, DmaAccess access)
    {
        ulong iova = 0;
        int result = MapCall((uint)access, address, length, ref iova);
        return result >= 0 ? iova : throw MapFailure(result, address, length, null);
    }

    /// <summary>IOMMU_IOAS_MAP at an IOVA that the caller chooses. Never replaces a mapping. Allocates nothing.</summary>
    /// <inheritdoc cref="Map(nint, ulong, DmaAccess)" path="/param"/>
    /// <param name="address">Process address of the first byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="access">What devices may do.</param>
    /// <param name="iova">Where, aligned and inside the permitted ranges.</param>
    /// <exception cref="IommuFdException">As above, and EEXIST when something is mapped there.</exception>
    public void MapFixed(nint address, ulong length, DmaAccess access, ulong iova)
    {
        int result = MapCall((uint)access | (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA, address, length, ref iova);
        if (result < 0)
        {
            throw MapFailure(result, address, length, iova);
        }
    }

    /// <summary>Tries <see cref="Map"/>.</summary>
    /// <returns>False when the kernel refused; <paramref name="errno"/> says with what.</returns>
    public bool TryMap(nint address, ulong length, DmaAccess access, out ulong iova, out int errno)
    {
        iova = 0;
        return Succeeded(MapCall((uint)access, address, length, ref iova), out errno);
    }

    /// <summary>Tries <see cref="MapFixed"/>.</summary>
    /// <returns>False when the kernel refused; <paramref name="errno"/> says with what.</returns>
    public bool TryMapFixed(nint address, ulong length, DmaAccess access, ulong iova, out int errno) =>
        Succeeded(MapCall((uint)access | (uint)iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA, address, length, ref iova), out errno);

    /// <summary>IOMMU_IOAS_UNMAP: removes the whole mappings inside a range. Allocates nothing.</summary>
    /// <param name="iova">Start of the range.</param>
    /// <param name="length">Bytes; with 0 and <see cref="ulong.MaxValue"/> everything.</param>
    /// <returns>The bytes that were unmapped.</returns>
    /// <exception cref="IommuFdException">ENOENT nothing there or a mapping would be cut, EBUSY held.</exception>
    public ulong Unmap(ulong iova, ulong length)
    {
        int result = UnmapCall(iova, ref length);
        return result >= 0 ? length : throw Failure.Of(nameof(IOMMU_IOAS_UNMAP), result, Evidence.Hex("iova", iova), Evidence.Hex("length", length));
    }

    /// <summary>Tries <see cref="Unmap"/>; <paramref name="unmapped"/> are the bytes removed.</summary>
    public bool TryUnmap(ulong iova, ulong length, out ulong unmapped, out int errno)
    {
        bool succeeded = Succeeded(UnmapCall(iova, ref length), out errno);
        unmapped = succeeded ? length : 0;
        return succeeded;
    }

    /// <summary>IOMMU_IOAS_IOVA_RANGES: which IOVAs may be mapped now. Every attach can narrow the answer, every detach widen it.</summary>
    /// <param name="alignment">Bytes that an IOVA and a length must be aligned to.</param>
    /// <returns>The ranges in ascending order.</returns>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public IovaRange[] GetIovaRanges(out ulong alignment)
    {
        iommu_ioas_iova_ranges command = new() { size = (uint)sizeof(iommu_ioas_iova_ranges), ioas_id = Id };
        iommu_iova_range[] ranges = new iommu_iova_range[8];

        // Ask; when the array was too short the kernel says how many there are. They can grow in between, so ask again, but not for ever.
        int result = 0;
        for (int round = 0; round < 8; round++)
        {
            Enter();
            fixed (iommu_iova_range* pointer = ranges)
            {
                // SAFETY: the array is pinned for the call and num_iovas is its length.
                command.num_iovas = (uint)ranges.Length;
                command.allowed_iovas = (ulong)pointer;
                result = _context.Call(IOMMU_IOAS_IOVA_RANGES, ref command);
            }

            Exit();
            if (result != -Errno.EMSGSIZE)
            {
                break;
            }

            ranges = new iommu_iova_range[command.num_iovas];
        }

        _ = Failure.Check(result, nameof(IOMMU_IOAS_IOVA_RANGES));
        alignment = command.out_iova_alignment;
        IovaRange[] permitted = new IovaRange[Math.Min(command.num_iovas, (uint)ranges.Length)];
        for (int i = 0; i < permitted.Length; i++)
        {
            permitted[i] = new IovaRange(ranges[i].start, ranges[i].last);
        }

        return permitted;
    }

    /// <summary>
    /// IOMMU_IOAS_ALLOW_IOVAS: promises to map only inside these ranges; a device that reserves any of them can then not be attached.
    /// </summary>
    /// <param name="ranges">The ranges; none lifts the promise.</param>
    /// <exception cref="IommuFdException">EADDRINUSE a mapping or reserved range is outside, EINVAL unaligned or overlapping.</exception>
    public void AllowIovas(params ReadOnlySpan<IovaRange> ranges)
    {
        iommu_iova_range[] wire = new iommu_iova_range[ranges.Length];
        for (int i = 0; i < wire.Length; i++)
        {
            wire[i] = new iommu_iova_range { start = ranges[i].Start, last = ranges[i].Last };
        }

        Enter();
        int result;
        fixed (iommu_iova_range* pointer = wire)
        {
            // SAFETY: the array is pinned for the call and num_iovas is its length.
            iommu_ioas_allow_iovas command = new()
            {
                size = (uint)sizeof(iommu_ioas_allow_iovas), ioas_id = Id, num_iovas = (uint)wire.Length, allowed_iovas = (ulong)pointer,
            };
            result = _context.Call(IOMMU_IOAS_ALLOW_IOVAS, ref command);
        }

        Exit();
        _ = Failure.Check(result, nameof(IOMMU_IOAS_ALLOW_IOVAS));
    }

    /// <summary>IOMMU_OPTION of HUGE_PAGES: whether pages are combined into large ones where possible (the default).</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public bool GetHugePages() => _context.GetOption(iommufd_option.IOMMU_OPTION_HUGE_PAGES, Id) != 0;

    /// <summary>IOMMU_OPTION of HUGE_PAGES: false keeps every mapping in small pages, so that dirty tracking is fine-grained.</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void SetHugePages(bool allowed) => _context.SetOption(iommufd_option.IOMMU_OPTION_HUGE_PAGES, Id, allowed ? 1u : 0u);

    internal int MapCall(uint flags, nint address, ulong length, ref ulong iova)
    {
        Enter();
        int result = MapHeld(flags, address, length, ref iova);
        Exit();
        return result;
    }

    /// <summary>For a caller that holds this already.</summary>
    internal int MapHeld(uint flags, nint address, ulong length, ref ulong iova)
    {
        iommu_ioas_map command = new()
        {
            size = (uint)sizeof(iommu_ioas_map), flags = flags, ioas_id = Id, user_va = (ulong)address, length = length, iova = iova,
        };
        int result = _context.HeldCall(IOMMU_IOAS_MAP, ref command);
        iova = command.iova;
        return result;
    }

    internal int UnmapCall(ulong iova, ref ulong length)
    {
        Enter();
        int result = UnmapHeld(iova, ref length);
        Exit();
        return result;
    }

    /// <summary>For a caller that holds this already.</summary>
    internal int UnmapHeld(ulong iova, ref ulong length)
    {
        iommu_ioas_unmap command = new() { size = (uint)sizeof(iommu_ioas_unmap), ioas_id = Id, iova = iova, length = length };
        int result = _context.HeldCall(IOMMU_IOAS_UNMAP, ref command);
        if (result >= 0)
        {
            length = command.length;
        }

        return result;
    }

    internal static bool Succeeded(int result, out int errno)
    {
        errno = result < 0 ? -result : 0;
        return result >= 0;
    }

    /// <summary>Whether the kernel's object, and with it every mapping, is gone.</summary>
    internal bool IsDestroyed { get; private set; }

    private protected override void Free() => IsDestroyed = _context.Destroy(Id) >= 0;

    // The kernel answers EINVAL for several mistakes; its own ranges say which one it was.
    internal IommuFdException MapFailure(int result, nint address, ulong length, ulong? iova)
    {
        List<Evidence> evidence = [Evidence.Hex("address", (ulong)address), Evidence.Hex("length", length)];
        if (iova is { } fixedIova)
        {
            evidence.Add(Evidence.Hex("iova", fixedIova));
        }

        if (result == -Errno.EINVAL && !IsDisposed)
        {
            IovaRange[] permitted = GetIovaRanges(out ulong alignment);
            ulong mask = alignment - 1;
            if ((((ulong)address | length | (iova ?? 0)) & mask) != 0 || length == 0)
            {
                evidence.Add(Evidence.Hex("alignment", alignment));
                return Failure.Because(
                    nameof(IOMMU_IOAS_MAP), result, FailureCause.IovaNotPermitted, "address, length and IOVA must be multiples of the alignment",
                    $"Use multiples of 0x{alignment:x}.", [.. evidence]);
            }

            if (iova is { } chosen && !permitted.Any(range => range.Contains(chosen, length)))
            {
                evidence.Add(new Evidence("permitted", string.Join(" ", permitted)));
                return Failure.Because(
                    nameof(IOMMU_IOAS_MAP), result, FailureCause.IovaNotPermitted, "the IOVA lies outside the permitted ranges",
                    "Choose one inside them, or let the kernel choose.", [.. evidence]);
            }
        }

        return Failure.Of(nameof(IOMMU_IOAS_MAP), result, [.. evidence]);
    }
}
