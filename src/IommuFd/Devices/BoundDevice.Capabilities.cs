using System.Numerics;
using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using IommuFd.Sysfs;
using static IommuFd.Native.Uapi.Rfc;

namespace IommuFd;

/// <content>The capability query.</content>
public sealed unsafe partial class BoundDevice
{
    /// <summary>What the IOMMU offers this device: the proposal's query by cookie.</summary>
    /// <exception cref="IommuFdException">The device is gone.</exception>
    public DeviceCapabilities GetCapabilities()
    {
        Enter();
        try
        {
            return Context.Kind switch
            {
                ContextKind.Container => OfContainer(),
                ContextKind.Rfc => OfCookie(),
                _ => OfHardware(),
            };
        }
        finally
        {
            Exit();
        }
    }

    private DeviceCapabilities OfHardware()
    {
        HwInfo info = Context.GetHwInfo(DeviceId);
        using Ioas scratch = Context.AllocateIoas();
        IovaRange[] ranges;
        ulong alignment;
        using (Context.AllocateHwptPaging(DeviceId, scratch))
        {
            ranges = scratch.GetIovaRanges(out alignment); // the table's width; what the device reserves is known at attach, and to sysfs
        }

        bool nests;
        try
        {
            Context.AllocateHwptPaging(DeviceId, scratch, iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT).Dispose();
            nests = true;
        }
        catch (IommuFdException refused) when (refused.Errno is Errno.EOPNOTSUPP or Errno.EINVAL)
        {
            nests = false;
        }

        IReadOnlyList<UserTableFormat> formats = nests ? HardwareFacts.Formats(info) : [];
        ulong sizes = HardwareFacts.PageSizes(info);
        return new DeviceCapabilities(
            Cookie, sizes == 0 ? alignment : sizes, Width(ranges), WithoutReserved(ranges),
            NestingKinds.Software | (nests ? NestingKinds.Hardware : 0), formats, info.MaxPasidLog2,
            formats.Any(static format => new UserTable(format, 0).IsPasidTable), CpuPasids.None,
            (info.Capabilities & iommufd_hw_capabilities.IOMMU_HW_CAP_DIRTY_TRACKING) != 0,
            HardwareFacts.EnforcesSnoop(info));
    }

    private DeviceCapabilities OfContainer()
    {
        VfioContainer container = _group!.Container;
        if (_group.IsNoIommu)
        {
            return new DeviceCapabilities(Cookie, 0, 0, [], NestingKinds.None, [], 0, false, CpuPasids.None, false, null);
        }

        ContainerInfo info = container.GetInfo();
        return new DeviceCapabilities(
            Cookie, info.PageSizes, Width(info.IovaRanges), info.IovaRanges, NestingKinds.Software, [], 0, false, CpuPasids.None,
            info.DirtyPageSizes != 0, container.CheckExtension(Vfio.VFIO_DMA_CC_IOMMU));
    }

    private DeviceCapabilities OfCookie()
    {
        iommu_device_info info = Context.GetDeviceInfo(Cookie, out byte[] answer);
        NestingKinds nesting = NestingKinds.None;
        List<UserTableFormat> formats = [];
        bool dirty = false;
        CapabilityChain chain = new(answer, (info.flags & IOMMU_DEVICE_INFO_CAPS) != 0 ? info.cap_offset : 0);
        while (chain.Next())
        {
            switch (chain.Id)
            {
                case IOMMU_DEVICE_INFO_CAP_NESTING when MemoryMarshal.TryRead(chain.Body, out iommu_device_info_cap_nesting kinds):
                    nesting = ((kinds.flags & IOMMU_DEVICE_INFO_NESTING_SW) != 0 ? NestingKinds.Software : 0)
                        | ((kinds.flags & IOMMU_DEVICE_INFO_NESTING_HW) != 0 ? NestingKinds.Hardware : 0);
                    break;
                case IOMMU_DEVICE_INFO_CAP_USER_PGTABLE or IOMMU_DEVICE_INFO_CAP_USER_PASID_TABLE
                    when MemoryMarshal.TryRead(chain.Body, out iommu_device_info_cap_formats head):
                    ReadOnlySpan<iommu_device_info_format> wire =
                        MemoryMarshal.Cast<byte, iommu_device_info_format>(chain.Body[iommu_device_info_cap_formats.formats_offset..]);
                    for (int i = 0; i < Math.Min((int)head.nr_formats, wire.Length); i++)
                    {
                        formats.Add((UserTableFormat)wire[i].format);
                    }

                    break;
                case IOMMU_DEVICE_INFO_CAP_DIRTY:
                    dirty = true;
                    break;
            }
        }

        (int Width, uint Flags)? pasid = Calls.GetPasidCapability();
        uint flags = pasid?.Flags ?? 0;
        return new DeviceCapabilities(
            Cookie, info.pgsize_bitmap, (int)info.addr_width, Context.GetDeviceRanges(Cookie), nesting, formats, pasid?.Width ?? 0,
            (flags & PASID_DELEGATED) != 0,
            (flags & PASID_CPU) == 0 ? CpuPasids.None : (flags & PASID_CPU_VIRT) != 0 ? CpuPasids.Translated : CpuPasids.Untranslated, dirty,
            (info.flags & IOMMU_DEVICE_INFO_ENFORCE_SNOOP) != 0);
    }

    private IovaRange[] WithoutReserved(IovaRange[] ranges)
    {
        IovaAllocator free = new(ranges);
        if (Address is { } address && new PciBus(Host.Sysfs).Find(address) is { Group: { } number }
            && new PciBus(Host.Sysfs).Group(number) is { } group)
        {
            foreach (ReservedRegion region in group.ReservedRegions.Where(static region => region.Type != "direct-relaxable"))
            {
                free.Reserve(new IovaRange(region.First, region.Last));
            }
        }

        return [.. free.Free];
    }

    private static int Width(IReadOnlyList<IovaRange> ranges) => ranges.Count == 0 ? 0 : 64 - BitOperations.LeadingZeroCount(ranges[^1].Last);
}
