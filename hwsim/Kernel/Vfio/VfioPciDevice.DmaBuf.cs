using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// BARs as dma-bufs (drivers/vfio/pci/vfio_pci_dmabuf.c): other devices may reach them, until memory decoding is off or the device is reset or
/// closed.
/// </summary>
/// <remarks>Does not model: DMA to a peer's registers; it ends as at memory that is not there.</remarks>
internal sealed unsafe partial class VfioPciDevice
{
    private readonly List<SimulatedDmaBuf> _dmaBufs = [];

    private int ExportDmaBuf(uint flags, ulong data, uint size, IUserMemory user)
    {
        uint head = (uint)sizeof(vfio_device_feature_dma_buf);
        int check = VfioFeatures.Check(flags, size, Vfio.VFIO_DEVICE_FEATURE_GET, head);
        if (check != 1)
        {
            return check;
        }

        vfio_device_feature_dma_buf request;
        if (user.CopyFrom(data, &request, head) < 0)
        {
            return -Errno.EFAULT;
        }

        if (request.nr_ranges == 0 || request.flags != 0)
        {
            return -Errno.EINVAL;
        }

        if (request.region_index >= Vfio.VFIO_PCI_ROM_REGION_INDEX || Function.Resources[request.region_index].Length == 0)
        {
            return -Errno.ENODEV;
        }

        PciResource resource = Function.Resources[request.region_index];
        ulong first = 0, total = 0;
        for (uint i = 0; i < request.nr_ranges; i++)
        {
            vfio_region_dma_range range;
            if (user.CopyFrom(data + head + (i * (ulong)sizeof(vfio_region_dma_range)), &range, (nuint)sizeof(vfio_region_dma_range)) < 0)
            {
                return -Errno.EFAULT;
            }

            int error = CheckRange(range, resource, ref total);
            if (error < 0)
            {
                return error;
            }

            first = i == 0 ? resource.Start + range.offset : first;
        }

        // Only memory can be another device's target.
        if (!resource.IsMemory)
        {
            return -Errno.EINVAL;
        }

        if (!TryGetRegistration())
        {
            return -Errno.ENODEV;
        }

        Function.Hardware.ShowMemory((int)request.region_index, resource.Start, Core.Memory);
        var dmaBuf = new SimulatedDmaBuf(first, total) { IsContiguous = request.nr_ranges == 1, Released = ForgetDmaBuf };
        using (_memoryLock.Write())
        {
            if (!MemoryEnabled)
            {
                dmaBuf.Revoke();
            }

            _dmaBufs.Add(dmaBuf);
        }

        int descriptor = Core.Process.InstallFile(dmaBuf);
        if (descriptor < 0)
        {
            dmaBuf.Put();
        }

        return descriptor;
    }

    private static int CheckRange(in vfio_region_dma_range range, PciResource resource, ref ulong total)
    {
        if (range.length == 0 || ((range.offset | range.length) & 4095) != 0 || total + range.length < total)
        {
            return -Errno.EINVAL;
        }

        total += range.length;
        ulong start = resource.Start + range.offset, end = start + range.length;
        return start < resource.Start || end < start ? -Errno.EOVERFLOW : end > resource.Start + resource.Length ? -Errno.EINVAL : 0;
    }

    // vfio_pci_dma_buf_move: importers lose the memory, or may have it again. The memory lock is held.
    private void MoveDmaBufs(bool revoked)
    {
        foreach (SimulatedDmaBuf dmaBuf in _dmaBufs)
        {
            if (revoked)
            {
                dmaBuf.Revoke();
            }
            else
            {
                dmaBuf.Restore();
            }
        }
    }

    // The device is closed: what is still exported is worth nothing any more.
    private void CleanUpDmaBufs()
    {
        SimulatedDmaBuf[] left;
        using (_memoryLock.Write())
        {
            left = [.. _dmaBufs];
            _dmaBufs.Clear();
        }

        foreach (SimulatedDmaBuf dmaBuf in left)
        {
            dmaBuf.Revoke();
            PutRegistration();
        }
    }

    private void ForgetDmaBuf(SimulatedDmaBuf dmaBuf)
    {
        bool known;
        using (_memoryLock.Write())
        {
            known = _dmaBufs.Remove(dmaBuf);
        }

        if (known)
        {
            PutRegistration();
        }
    }
}
