using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Rfc;

namespace IommuFd;

/// <summary>
/// An address space that is an IOASID of the proposal: the kernel does what the model says. It chooses no IOVAs, so that is done here.
/// </summary>
internal sealed unsafe class RfcBackend(IommuContext context, int ioasid, bool isChild) : IMappingBackend
{
    // Before a device is attached nobody knows its ranges: above 4 GiB is clear of what platforms keep for themselves.
    private static readonly IovaRange s_guess = new(1UL << 32, (1UL << 38) - 1);

    private readonly Lock _gate = new();
    private readonly Dictionary<BoundDevice, IovaRange[]> _devices = [];
    private readonly SortedDictionary<ulong, ulong> _mappings = []; // length by IOVA

    internal int Ioasid => ioasid;

    public uint Id => (uint)ioasid;

    public bool MergesChildren => true;

    public string MapCommand => nameof(IOMMU_MAP_DMA);

    public string CopyCommand => nameof(IOMMU_MAP_DMA);

    public int Map(nint address, ulong length, DmaAccess access, bool isFixed, ref ulong iova)
    {
        iommu_ioasid_dma_map command = new()
        {
            op = new iommu_ioasid_dma_op { argsz = (uint)sizeof(iommu_ioasid_dma_map), ioasid = ioasid },
            map = new vfio_iommu_type1_dma_map
            {
                argsz = (uint)sizeof(vfio_iommu_type1_dma_map),
                flags = ((access & DmaAccess.Read) != 0 ? Vfio.VFIO_DMA_MAP_FLAG_READ : 0)
                    | ((access & DmaAccess.Write) != 0 ? Vfio.VFIO_DMA_MAP_FLAG_WRITE : 0),
                vaddr = (ulong)address, // of a child: the parent's address
                size = length,
            },
        };
        lock (_gate)
        {
            if (!isFixed && !IovaAllocator.TryChoose(Ranges(), _mappings.Select(static pair => (pair.Key, pair.Value)), length,
                (ulong)Libc.PageSize, out iova))
            {
                return -Errno.ENOSPC;
            }

            command.map.iova = iova;
            int result = context.Call(IOMMU_MAP_DMA, ref command);
            if (result >= 0)
            {
                _mappings[iova] = length;
            }

            return result;
        }
    }

    public int MapFrom(IMappingBackend source, ulong sourceIova, in SpacePiece piece) => -Errno.EOPNOTSUPP; // the kernel merges

    public int Unmap(ulong iova, ulong length)
    {
        iommu_ioasid_dma_unmap command = new()
        {
            op = new iommu_ioasid_dma_op { argsz = (uint)sizeof(iommu_ioasid_dma_unmap), ioasid = ioasid },
            unmap = new vfio_iommu_type1_dma_unmap { argsz = (uint)sizeof(vfio_iommu_type1_dma_unmap), iova = iova, size = length },
        };
        lock (_gate)
        {
            int result = context.Call(IOMMU_UNMAP_DMA, ref command);
            if (result >= 0)
            {
                _ = _mappings.Remove(iova);
            }

            return result;
        }
    }

    public void Attached(BoundDevice device, bool attached)
    {
        IovaRange[] ranges = attached ? context.GetDeviceRanges(device.Cookie) : [];
        lock (_gate)
        {
            if (attached)
            {
                _devices[device] = ranges;
            }
            else
            {
                _ = _devices.Remove(device);
            }
        }
    }

    public IovaRange[] GetRanges(out ulong alignment)
    {
        alignment = (ulong)Libc.PageSize;
        lock (_gate)
        {
            return Ranges();
        }
    }

    public IommuFdException MapFailure(int result, nint address, ulong length, ulong? iova) => Failure.Of(
        MapCommand, result,
        [Evidence.Hex(isChild ? "parent iova" : "address", (ulong)address), Evidence.Hex("length", length),
            .. iova is { } at ? [Evidence.Hex("iova", at)] : Array.Empty<Evidence>()]);

    public bool Destroy() => context.FreeIoasid(ioasid) >= 0;

    private IovaRange[] Ranges() => _devices.Count == 0 ? [s_guess] : IovaAllocator.Common(_devices.Values);
}
