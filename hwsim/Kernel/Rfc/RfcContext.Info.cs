using System.Buffers.Binary;
using System.Numerics;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>What the kernel offers (IOMMU_CHECK_EXTENSION), and what the IOMMU offers a bound device (IOMMU_DEVICE_GET_INFO).</summary>
internal sealed unsafe partial class RfcContext
{
    // Children of children are merged like children.
    private const uint MaximumDepth = RfcIoasid.MaximumDepth;

    private static int CheckExtension(ulong extension) => extension switch
    {
        Rfc.EXT_MAP_TYPE1V2 or Rfc.EXT_DMA_NO_SNOOP or Rfc.EXT_IOASID_NESTING or Rfc.EXT_MULTIDEV_GROUP => 1,
        Rfc.EXT_USER_PAGE_TABLE or Rfc.EXT_USER_PASID_TABLE or Rfc.EXT_DIRTY_TRACKING or Rfc.EXT_IOASID_FAULT => 1,
        _ => 0,
    };

    private int DeviceGetInfo(ulong argument, IUserMemory user)
    {
        iommu_device_info info;
        uint size = (uint)sizeof(iommu_device_info);
        if (user.CopyFrom(argument, &info, size) < 0)
        {
            return -Errno.EFAULT;
        }

        if (info.argsz < size || FindDevice(info.dev_cookie) is not { } device)
        {
            return -Errno.EINVAL;
        }

        var capabilities = new List<byte[]>();
        info.flags = Rfc.IOMMU_DEVICE_INFO_PGSIZES | Rfc.IOMMU_DEVICE_INFO_ADDR_WIDTH | Rfc.IOMMU_DEVICE_INFO_CAPS;
        info.flags |= device.CanEnforceSnoop ? Rfc.IOMMU_DEVICE_INFO_ENFORCE_SNOOP : 0;
        int error = device.Describe(out RfcTableInfo table);
        if (error < 0)
        {
            return error;
        }

        info.pgsize_bitmap = table.PageSizes;
        info.addr_width = table.AddressWidth;
        AddRanges(capabilities, device, table);
        AddNesting(capabilities, device);
        AddFormats(capabilities, Rfc.IOMMU_DEVICE_INFO_CAP_USER_PGTABLE, [.. device.UserTables.Where(static f => !f.IsPasidTable)]);
        AddFormats(capabilities, Rfc.IOMMU_DEVICE_INFO_CAP_USER_PASID_TABLE, [.. device.UserTables.Where(static f => f.IsPasidTable)]);
        AddDirty(capabilities, device);
        info.cap_offset = 0;
        error = InfoCapabilities.CopyTo(capabilities, argument, size, ref info.argsz, ref info.cap_offset, user);
        return error < 0 ? error : user.CopyTo(argument, &info, size) < 0 ? -Errno.EFAULT : 0;
    }

    // Permitted ranges: what the table can hold without what the platform reserves.
    private static void AddRanges(List<byte[]> capabilities, RfcDevice device, in RfcTableInfo table)
    {
        var reserved = new ReservedRanges();
        if (table.First != 0)
        {
            reserved.Add(0, table.First - 1, device);
        }

        if (table.Last != ulong.MaxValue)
        {
            reserved.Add(table.Last + 1, ulong.MaxValue, device);
        }

        foreach (ReservedRegion region in device.ReservedRegions)
        {
            reserved.Add(region.Start, region.Start + region.Length - 1, device);
        }

        var ranges = new List<(ulong First, ulong Last)>();
        for (ulong at = 0; reserved.NextHole(at, out ulong first, out ulong last); at = last + 1)
        {
            ranges.Add((first, last));
            if (last == ulong.MaxValue)
            {
                break;
            }
        }

        byte[] payload = new byte[8 + (16 * ranges.Count)];
        BinaryPrimitives.WriteInt32LittleEndian(payload, ranges.Count);
        for (int i = 0; i < ranges.Count; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(payload.AsSpan(8 + (16 * i)), ranges[i].First);
            BinaryPrimitives.WriteUInt64LittleEndian(payload.AsSpan(16 + (16 * i)), ranges[i].Last);
        }

        InfoCapabilities.Add(capabilities, Rfc.IOMMU_DEVICE_INFO_CAP_IOVA_RANGE, 1, payload);
    }

    private static void AddNesting(List<byte[]> capabilities, RfcDevice device)
    {
        byte[] payload = new byte[8];
        uint kinds = Rfc.IOMMU_DEVICE_INFO_NESTING_SW | (device.UserTables.Count != 0 ? Rfc.IOMMU_DEVICE_INFO_NESTING_HW : 0);
        BinaryPrimitives.WriteUInt32LittleEndian(payload, kinds);
        BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(4), MaximumDepth);
        InfoCapabilities.Add(capabilities, Rfc.IOMMU_DEVICE_INFO_CAP_NESTING, 1, payload);
    }

    private static void AddFormats(List<byte[]> capabilities, ushort id, UserTableFormat[] formats)
    {
        if (formats.Length == 0)
        {
            return;
        }

        byte[] payload = new byte[8 + (8 * formats.Length)];
        BinaryPrimitives.WriteInt32LittleEndian(payload, formats.Length);
        for (int i = 0; i < formats.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(8 + (8 * i)), (uint)formats[i].Format);
            BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(12 + (8 * i)), formats[i].AddressWidth);
        }

        InfoCapabilities.Add(capabilities, id, 1, payload);
    }

    private static void AddDirty(List<byte[]> capabilities, RfcDevice device)
    {
        if (device.TracksDirty)
        {
            byte[] payload = new byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(payload, ~(IoptPages.PageSize - 1));
            InfoCapabilities.Add(capabilities, Rfc.IOMMU_DEVICE_INFO_CAP_DIRTY, 1, payload);
        }
    }
}
