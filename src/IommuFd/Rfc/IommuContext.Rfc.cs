using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Rfc;

namespace IommuFd;

/// <content>The commands of the proposal's <c>/dev/iommu</c> (RFC v2, section 2), where a kernel has them.</content>
public sealed unsafe partial class IommuContext
{
    private const uint LeastAddressWidth = 39; // what every IOMMU has

    /// <summary>
    /// Which <c>/dev/iommu</c> a descriptor is, by asking it. Request 0x3b64 is IOMMU_CHECK_EXTENSION of the proposal, which answers 1 to
    /// EXT_MAP_TYPE1V2; the same number is VFIO_GET_API_VERSION of a container and of mainline's emulation of one, which answer 0 whatever the
    /// argument.
    /// </summary>
    internal static ContextKind Probe(IommuFdHandle handle) =>
        handle.Ioctl(IOMMU_CHECK_EXTENSION, (nint)EXT_MAP_TYPE1V2) == 1 ? ContextKind.Rfc : ContextKind.Iommufd;

    /// <summary>IOMMU_IOASID_ALLOC of a space with a table of the kernel.</summary>
    internal int AllocateIoasid(int parent) => AllocateIoasid(new iommu_ioasid_alloc_attr
    {
        type = IOMMU_IOASID_TYPE_KERNEL_TYPE1V2, flags = IOMMU_IOASID_SNOOP_AUTO, addr_width = CommonAddressWidth(), parent = parent,
    });

    /// <summary>
    /// IOMMU_IOASID_ALLOC of a space with a table of the program. The input of a PASID table has the PASID on top of 64 bits of address.
    /// </summary>
    internal int AllocateIoasid(int parent, UserTable table, bool faults) => table.Raw is null
        ? AllocateIoasid(new iommu_ioasid_alloc_attr
        {
            type = IOMMU_IOASID_TYPE_USER, flags = IOMMU_IOASID_SNOOP_AUTO | (faults ? IOMMU_IOASID_FAULT : 0),
            addr_width = (uint)(table.IsPasidTable ? 64 + Math.Max(table.PasidBits, 1) : table.AddressWidth), parent = parent,
            format = (uint)table.Format, addr = table.Address, user_pgtable = table.IsPasidTable ? 0u : 1,
            user_pasid_table = table.IsPasidTable ? 1u : 0,
        })
        : throw Failure.Because(
            nameof(IOMMU_IOASID_ALLOC), Errno.EOPNOTSUPP, FailureCause.NotSupported, "the proposal's kernel takes tables of its own formats only",
            "Give a format and an address.");

    /// <summary>IOMMU_IOASID_FREE. 0 or -errno.</summary>
    internal int FreeIoasid(int ioasid) => Call(IOMMU_IOASID_FREE, ref ioasid);

    /// <summary>IOMMU_INVALIDATE_CACHE.</summary>
    internal void InvalidateIoasid(iommu_ioasid_invalidate command)
    {
        command.argsz = (uint)sizeof(iommu_ioasid_invalidate);
        int result = Call(IOMMU_INVALIDATE_CACHE, ref command);
        if (result < 0)
        {
            throw Failure.Of(nameof(IOMMU_INVALIDATE_CACHE), result, new Evidence("ioasid", $"{command.ioasid}"), Evidence.Hex("addr", command.addr));
        }
    }

    /// <summary>IOMMU_IOASID_FAULT_REGION.</summary>
    internal RfcFaultRegion OpenFaultRegion(int ioasid)
    {
        iommu_ioasid_fault_region command = new() { argsz = (uint)sizeof(iommu_ioasid_fault_region), ioasid = ioasid,
            eventfd = -1, nr_records = 256 };
        int result = Call(IOMMU_IOASID_FAULT_REGION, ref command);
        if (result < 0)
        {
            throw Failure.Of(nameof(IOMMU_IOASID_FAULT_REGION), result, new Evidence("ioasid", $"{ioasid}"));
        }

        Enter(); // given back by the region
        return new RfcFaultRegion(this, ioasid, new FaultQueueHandle(Host.Kernel, command.out_fd), (int)command.record_size);
    }

    /// <summary>IOMMU_DEVICE_GET_INFO by cookie: the struct and the capabilities behind it.</summary>
    internal iommu_device_info GetDeviceInfo(ulong cookie, out byte[] answer)
    {
        _ = Failure.Check(ArgszQuery.Run(Handle, IOMMU_DEVICE_GET_INFO, new iommu_device_info { dev_cookie = cookie }, out answer),
            nameof(IOMMU_DEVICE_GET_INFO));
        return ArgszQuery.Head<iommu_device_info>(answer);
    }

    /// <summary>The permitted ranges of a device, from its information.</summary>
    internal IovaRange[] GetDeviceRanges(ulong cookie)
    {
        iommu_device_info info = GetDeviceInfo(cookie, out byte[] answer);
        CapabilityChain chain = new(answer, (info.flags & IOMMU_DEVICE_INFO_CAPS) != 0 ? info.cap_offset : 0);
        while (chain.Next())
        {
            if (chain.Id == IOMMU_DEVICE_INFO_CAP_IOVA_RANGE && chain.Body.Length >= sizeof(vfio_iommu_type1_info_cap_iova_range))
            {
                uint count = MemoryMarshal.Read<vfio_iommu_type1_info_cap_iova_range>(chain.Body).nr_iovas;
                ReadOnlySpan<vfio_iova_range> wire =
                    MemoryMarshal.Cast<byte, vfio_iova_range>(chain.Body[vfio_iommu_type1_info_cap_iova_range.iova_ranges_offset..]);
                IovaRange[] ranges = new IovaRange[Math.Min(count, (uint)wire.Length)];
                for (int i = 0; i < ranges.Length; i++)
                {
                    ranges[i] = new IovaRange(wire[i].start, wire[i].end);
                }

                return ranges;
            }
        }

        return [];
    }

    // The proposal fixes the width at allocation, before anything is attached: what all bound devices have.
    private uint CommonAddressWidth()
    {
        uint width = 64;
        ulong[] cookies = Cookies.All();
        foreach (ulong cookie in cookies)
        {
            width = Math.Min(width, GetDeviceInfo(cookie, out _).addr_width);
        }

        return cookies.Length == 0 ? LeastAddressWidth : width;
    }

    private int AllocateIoasid(iommu_ioasid_alloc_attr command)
    {
        command.argsz = (uint)sizeof(iommu_ioasid_alloc_attr);
        Enter();
        int result = Call(IOMMU_IOASID_ALLOC, ref command);
        Exit();
        return result >= 0 ? result : throw Failure.Of(
            nameof(IOMMU_IOASID_ALLOC), result, new Evidence("parent", $"{command.parent}"),
            new Evidence("format", $"{(UserTableFormat)command.format}"), new Evidence("addr_width", $"{command.addr_width}"));
    }
}
