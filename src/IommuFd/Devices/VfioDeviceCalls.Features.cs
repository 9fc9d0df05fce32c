using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Vfio;

namespace IommuFd;

/// <content>VFIO_DEVICE_FEATURE and what is reached through it.</content>
public sealed unsafe partial class VfioDeviceCalls
{
    /// <summary>VFIO_DEVICE_FEATURE with PROBE: whether the device has a feature (VFIO_DEVICE_FEATURE_*) and lets it be read or written.</summary>
    /// <param name="feature">The feature.</param>
    /// <param name="get">Ask for reading.</param>
    /// <param name="set">Ask for writing.</param>
    public bool HasFeature(uint feature, bool get = false, bool set = false)
    {
        vfio_device_feature command = new()
        {
            argsz = (uint)sizeof(vfio_device_feature),
            flags = feature | VFIO_DEVICE_FEATURE_PROBE | (get ? VFIO_DEVICE_FEATURE_GET : 0) | (set ? VFIO_DEVICE_FEATURE_SET : 0),
        };
        return _handle.Ioctl(VFIO_DEVICE_FEATURE, ref command) >= 0;
    }

    /// <summary>VFIO_DEVICE_FEATURE with GET: reads a feature's struct. The command returns it, and some (dma-buf) a descriptor besides.</summary>
    /// <param name="feature">VFIO_DEVICE_FEATURE_*.</param>
    /// <param name="data">The feature's struct, with its inputs; filled.</param>
    /// <returns>What the command returned.</returns>
    /// <exception cref="IommuFdException">ENOTTY the device does not have it.</exception>
    public int GetFeature<T>(uint feature, ref T data)
        where T : unmanaged => Checked(feature, FeatureCall(feature | VFIO_DEVICE_FEATURE_GET, ref data, sizeof(T)));

    /// <summary>VFIO_DEVICE_FEATURE with SET: writes a feature's struct.</summary>
    /// <param name="feature">VFIO_DEVICE_FEATURE_*.</param>
    /// <param name="data">The feature's struct; what the kernel changes is read back.</param>
    /// <returns>What the command returned.</returns>
    /// <exception cref="IommuFdException">ENOTTY the device does not have it, EINVAL the value is refused.</exception>
    public int SetFeature<T>(uint feature, ref T data)
        where T : unmanaged => Checked(feature, FeatureCall(feature | VFIO_DEVICE_FEATURE_SET, ref data, sizeof(T)));

    /// <summary>VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: the token that users of this physical function's virtual functions have to show.</summary>
    /// <exception cref="IommuFdException">ENOTTY no physical function.</exception>
    public void SetVfToken(Guid token)
    {
        Token wire = default;
        _ = token.TryWriteBytes(wire, bigEndian: true, out _);
        _ = SetFeature(VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, ref wire);
    }

    /// <summary>VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: the device may be suspended while nobody accesses it.</summary>
    /// <exception cref="IommuFdException">ENOTTY not offered, EBUSY in low power already.</exception>
    public void EnterLowPower() => _ = Checked(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, PlainFeatureCall(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY));

    /// <summary>
    /// VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: the same, and the descriptor (an eventfd) is signalled when the device wakes by itself.
    /// </summary>
    /// <exception cref="IommuFdException">ENOTTY not offered, EBUSY in low power already.</exception>
    public void EnterLowPower(int wakeUpEventFd)
    {
        vfio_device_low_power_entry_with_wakeup data = new() { wakeup_eventfd = wakeUpEventFd };
        _ = SetFeature(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, ref data);
    }

    /// <summary>VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: the device is resumed.</summary>
    /// <exception cref="IommuFdException">ENOTTY not offered.</exception>
    public void ExitLowPower() => _ = Checked(VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, PlainFeatureCall(VFIO_DEVICE_FEATURE_LOW_POWER_EXIT));

    /// <summary>VFIO_DEVICE_FEATURE_BUS_MASTER: lets the device do DMA or not, on buses where a register does not.</summary>
    /// <exception cref="IommuFdException">ENOTTY not offered (PCI has the command register).</exception>
    public void SetBusMaster(bool enabled)
    {
        vfio_device_feature_bus_master data = new() { op = enabled ? VFIO_DEVICE_FEATURE_SET_MASTER : VFIO_DEVICE_FEATURE_CLEAR_MASTER };
        _ = SetFeature(VFIO_DEVICE_FEATURE_BUS_MASTER, ref data);
    }

    /// <summary>VFIO_DEVICE_FEATURE_DMA_BUF: parts of a region as a dma-buf, to be mapped for another device (peer to peer). It is revoked when the
    /// device's memory decoding goes off or the device is reset.</summary>
    /// <param name="region">0..5, a BAR.</param>
    /// <param name="ranges">The parts, page-aligned; none stands for nothing.</param>
    /// <exception cref="IommuFdException">ENOTTY not offered, EINVAL ranges, ENODEV memory decoding is off.</exception>
    public DmaBufHandle ExportDmaBuf(uint region, params ReadOnlySpan<RegionArea> ranges)
    {
        byte[] argument = new byte[checked(vfio_device_feature.data_offset + vfio_device_feature_dma_buf.dma_ranges_offset
            + (ranges.Length * sizeof(vfio_region_dma_range)))];
        MemoryMarshal.Write(argument,
            new vfio_device_feature { argsz = (uint)argument.Length, flags = VFIO_DEVICE_FEATURE_DMA_BUF | VFIO_DEVICE_FEATURE_GET });
        MemoryMarshal.Write(
            argument.AsSpan(vfio_device_feature.data_offset),
            new vfio_device_feature_dma_buf { region_index = region, open_flags = Libc.O_RDWR | Libc.O_CLOEXEC, nr_ranges = (uint)ranges.Length });
        Span<byte> tail = argument.AsSpan(vfio_device_feature.data_offset + vfio_device_feature_dma_buf.dma_ranges_offset);
        for (int i = 0; i < ranges.Length; i++)
        {
            MemoryMarshal.Write(tail[(i * sizeof(vfio_region_dma_range))..],
                new vfio_region_dma_range { offset = ranges[i].Offset, length = ranges[i].Length });
        }

        fixed (byte* pointer = argument)
        {
            // SAFETY: the buffer is pinned for the call and argsz is its length.
            return new DmaBufHandle(_handle.Kernel, Checked(VFIO_DEVICE_FEATURE_DMA_BUF, _handle.Ioctl(VFIO_DEVICE_FEATURE, (nint)pointer)));
        }
    }

    /// <summary>VFIO_DEVICE_FEATURE_DMA_LOGGING_START: the device itself notes which IOVAs it writes.</summary>
    /// <param name="pageSize">Bytes that the device should tell apart; it may round up.</param>
    /// <param name="ranges">What to watch.</param>
    /// <returns>The page size in effect.</returns>
    /// <exception cref="IommuFdException">ENOTTY not offered, EINVAL the ranges overlap or are too many.</exception>
    public ulong StartDmaLogging(ulong pageSize, params ReadOnlySpan<IovaRange> ranges)
    {
        vfio_device_feature_dma_logging_range[] wire = new vfio_device_feature_dma_logging_range[ranges.Length];
        for (int i = 0; i < wire.Length; i++)
        {
            wire[i] = new vfio_device_feature_dma_logging_range { iova = ranges[i].Start, length = checked(ranges[i].Last - ranges[i].Start + 1) };
        }

        fixed (vfio_device_feature_dma_logging_range* pointer = wire)
        {
            // SAFETY: the ranges are pinned for the call and as many as stated.
            vfio_device_feature_dma_logging_control data = new() { page_size = pageSize, num_ranges = (uint)wire.Length, ranges = (ulong)pointer };
            _ = SetFeature(VFIO_DEVICE_FEATURE_DMA_LOGGING_START, ref data);
            return data.page_size;
        }
    }

    /// <summary>VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP.</summary>
    /// <exception cref="IommuFdException">EINVAL logging is not on.</exception>
    public void StopDmaLogging() => _ = Checked(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, PlainFeatureCall(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP));

    /// <summary>
    /// VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: sets the bits of pages that the device wrote since the last report, and forgets them.
    /// </summary>
    /// <param name="iova">Start of the range.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="pageSize">Bytes that one bit stands for, a power of two.</param>
    /// <param name="bitmap">Bit i of word w is page 64 w + i; the caller clears it first.</param>
    /// <exception cref="ArgumentException">The bitmap is too short.</exception>
    /// <exception cref="IommuFdException">EINVAL logging is not on, or outside of it.</exception>
    public void ReportDmaLogging(ulong iova, ulong length, ulong pageSize, Span<ulong> bitmap)
    {
        if (pageSize == 0 || length == 0 || (ulong)bitmap.Length < ((length - 1) / pageSize / 64) + 1)
        {
            throw new ArgumentException("The bitmap has fewer bits than the range has pages.", nameof(bitmap));
        }

        fixed (ulong* pointer = bitmap)
        {
            // SAFETY: the bitmap is pinned for the call and has a bit for every page of the range.
            vfio_device_feature_dma_logging_report data = new() { iova = iova, length = length, page_size = pageSize, bitmap = (ulong)pointer };
            _ = GetFeature(VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, ref data);
        }
    }

    /// <summary>VFIO_DEVICE_IOEVENTFD: a signal of the eventfd becomes a register write by the kernel; -1 takes it back.</summary>
    /// <param name="region">The region's offset in the device's file plus the register's offset.</param>
    /// <param name="width">1, 2, 4 or 8 bytes.</param>
    /// <param name="value">What is written.</param>
    /// <param name="eventFd">The descriptor, or -1.</param>
    /// <exception cref="IommuFdException">EINVAL the register cannot be written this way, ENOSPC too many.</exception>
    public void SetIoEventFd(ulong region, int width, ulong value, int eventFd)
    {
        vfio_device_ioeventfd command = new() { argsz = (uint)sizeof(vfio_device_ioeventfd), flags = (uint)width, offset = region,
            data = value, fd = eventFd };
        int result = _handle.Ioctl(VFIO_DEVICE_IOEVENTFD, ref command);
        if (result < 0)
        {
            throw Failure.Of(nameof(VFIO_DEVICE_IOEVENTFD), result, Evidence.Hex("offset", region), new Evidence("width", $"{width}"));
        }
    }

    /// <summary>VFIO_DEVICE_QUERY_GFX_PLANE: the display plane of a mediated graphics device.</summary>
    /// <param name="plane">With its inputs (flags, drm_plane_type); filled.</param>
    /// <exception cref="IommuFdException">ENOTTY no such device, EINVAL no such plane.</exception>
    public void QueryGfxPlane(ref vfio_device_gfx_plane_info plane)
    {
        plane.argsz = (uint)sizeof(vfio_device_gfx_plane_info);
        _ = Failure.Check(_handle.Ioctl(VFIO_DEVICE_QUERY_GFX_PLANE, ref plane), nameof(VFIO_DEVICE_QUERY_GFX_PLANE));
    }

    /// <summary>VFIO_DEVICE_GET_GFX_DMABUF: the dma-buf of a plane that <see cref="QueryGfxPlane"/> named.</summary>
    /// <exception cref="IommuFdException">ENOTTY no such device, EINVAL no such dma-buf.</exception>
    public DmaBufHandle GetGfxDmaBuf(uint dmaBufId) =>
        new(_handle.Kernel, Failure.Check(_handle.Ioctl(VFIO_DEVICE_GET_GFX_DMABUF, ref dmaBufId), nameof(VFIO_DEVICE_GET_GFX_DMABUF)));

    private int PlainFeatureCall(uint feature)
    {
        byte none = 0;
        return FeatureCall(feature | VFIO_DEVICE_FEATURE_SET, ref none, 0);
    }

    private int FeatureCall<T>(uint flags, ref T data, int length)
        where T : unmanaged
    {
        // SAFETY: room for the header and the struct, both on the stack for the length of the call.
        byte* argument = stackalloc byte[vfio_device_feature.data_offset + sizeof(T)];
        *(vfio_device_feature*)argument = new vfio_device_feature { argsz = (uint)(vfio_device_feature.data_offset + length), flags = flags };
        *(T*)(argument + vfio_device_feature.data_offset) = data;
        int result = _handle.Ioctl(VFIO_DEVICE_FEATURE, (nint)argument);
        data = *(T*)(argument + vfio_device_feature.data_offset);
        return result;
    }

    private static int Checked(uint feature, int result) =>
        result >= 0 ? result : throw Failure.Of(nameof(VFIO_DEVICE_FEATURE), result, new Evidence("feature", FeatureName(feature)));

    private static string FeatureName(uint feature) => feature switch
    {
        VFIO_DEVICE_FEATURE_PCI_VF_TOKEN => nameof(VFIO_DEVICE_FEATURE_PCI_VF_TOKEN),
        VFIO_DEVICE_FEATURE_MIGRATION => nameof(VFIO_DEVICE_FEATURE_MIGRATION),
        VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE => nameof(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE),
        VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY => nameof(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY),
        VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP => nameof(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP),
        VFIO_DEVICE_FEATURE_LOW_POWER_EXIT => nameof(VFIO_DEVICE_FEATURE_LOW_POWER_EXIT),
        VFIO_DEVICE_FEATURE_DMA_LOGGING_START => nameof(VFIO_DEVICE_FEATURE_DMA_LOGGING_START),
        VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP => nameof(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP),
        VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT => nameof(VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT),
        VFIO_DEVICE_FEATURE_MIG_DATA_SIZE => nameof(VFIO_DEVICE_FEATURE_MIG_DATA_SIZE),
        VFIO_DEVICE_FEATURE_BUS_MASTER => nameof(VFIO_DEVICE_FEATURE_BUS_MASTER),
        VFIO_DEVICE_FEATURE_DMA_BUF => nameof(VFIO_DEVICE_FEATURE_DMA_BUF),
        _ => $"{feature}",
    };

    [System.Runtime.CompilerServices.InlineArray(16)]
    private struct Token
    {
        private byte _first;
    }
}
