using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Vfio;

namespace Conformance.Vfio;

/// <summary>VFIO's and iommufd's calls with the arguments that most tests give.</summary>
internal static class VfioCalls
{
    public static unsafe int TryBind(this TestHost t, int device, int iommufd)
    {
        vfio_device_bind_iommufd bind = new() { argsz = (uint)sizeof(vfio_device_bind_iommufd), iommufd = iommufd };
        int result = t.Ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, ref bind);
        return result < 0 ? result : (int)bind.out_devid;
    }

    public static int Bind(this TestHost t, int device, int iommufd) => TestHost.Succeeds(t.TryBind(device, iommufd), "BIND_IOMMUFD");

    public static unsafe int TryAttach(this TestHost t, int device, int pageTable)
    {
        vfio_device_attach_iommufd_pt attach = new() { argsz = (uint)sizeof(vfio_device_attach_iommufd_pt), pt_id = (uint)pageTable };
        int result = t.Ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, ref attach);
        return result < 0 ? result : (int)attach.pt_id;
    }

    public static int Attach(this TestHost t, int device, int pageTable) => TestHost.Succeeds(t.TryAttach(device, pageTable), "ATTACH_IOMMUFD_PT");

    public static unsafe int TryDetach(this TestHost t, int device)
    {
        vfio_device_detach_iommufd_pt detach = new() { argsz = (uint)sizeof(vfio_device_detach_iommufd_pt) };
        return t.Ioctl(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, ref detach);
    }

    public static unsafe int AllocIoas(this TestHost t, int iommufd)
    {
        iommu_ioas_alloc alloc = new() { size = (uint)sizeof(iommu_ioas_alloc) };
        TestHost.Succeeds(t.Ioctl(iommufd, Iommufd.IOMMU_IOAS_ALLOC, ref alloc), "IOAS_ALLOC");
        return (int)alloc.out_ioas_id;
    }

    public static unsafe int TryMap(this TestHost t, int iommufd, int ioas, nint address, ulong length, ulong iova)
    {
        iommu_ioas_map map = new()
        {
            size = (uint)sizeof(iommu_ioas_map),
            flags = (uint)(iommufd_ioas_map_flags.IOMMU_IOAS_MAP_FIXED_IOVA | iommufd_ioas_map_flags.IOMMU_IOAS_MAP_READABLE
                | iommufd_ioas_map_flags.IOMMU_IOAS_MAP_WRITEABLE),
            ioas_id = (uint)ioas,
            user_va = (ulong)address,
            length = length,
            iova = iova,
        };
        return t.Ioctl(iommufd, Iommufd.IOMMU_IOAS_MAP, ref map);
    }

    public static void Map(this TestHost t, int iommufd, int ioas, nint address, ulong length, ulong iova) =>
        TestHost.Succeeds(t.TryMap(iommufd, ioas, address, length, iova), "IOAS_MAP");

    public static unsafe int TryUnmap(this TestHost t, int iommufd, int ioas, ulong iova, ulong length)
    {
        iommu_ioas_unmap unmap = new() { size = (uint)sizeof(iommu_ioas_unmap), ioas_id = (uint)ioas, iova = iova, length = length };
        return t.Ioctl(iommufd, Iommufd.IOMMU_IOAS_UNMAP, ref unmap);
    }

    public static unsafe vfio_device_info Info(this TestHost t, int device)
    {
        vfio_device_info info = new() { argsz = (uint)sizeof(vfio_device_info) };
        TestHost.Succeeds(t.Ioctl(device, VFIO_DEVICE_GET_INFO, ref info), "GET_INFO");
        return info;
    }

    public static unsafe vfio_region_info Region(this TestHost t, int device, uint index)
    {
        vfio_region_info info = new() { argsz = (uint)sizeof(vfio_region_info), index = index };
        TestHost.Succeeds(t.Ioctl(device, VFIO_DEVICE_GET_REGION_INFO, ref info), "GET_REGION_INFO");
        return info;
    }

    public static unsafe vfio_irq_info Irq(this TestHost t, int device, uint index)
    {
        vfio_irq_info info = new() { argsz = (uint)sizeof(vfio_irq_info), index = index };
        TestHost.Succeeds(t.Ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, ref info), "GET_IRQ_INFO");
        return info;
    }

    /// <summary>SET_IRQS with the data that belongs to the flags: bytes or descriptors.</summary>
    public static unsafe int SetIrqs(this TestHost t, int device, uint flags, uint index, uint start, uint count, params int[] data)
    {
        bool bytes = (flags & VFIO_IRQ_SET_DATA_BOOL) != 0;
        byte[] argument = new byte[vfio_irq_set.data_offset + (data.Length * (bytes ? 1 : 4))];
        fixed (byte* pointer = argument)
        {
            *(vfio_irq_set*)pointer = new vfio_irq_set { argsz = (uint)argument.Length, flags = flags, index = index, start = start, count = count };
            for (int i = 0; i < data.Length; i++)
            {
                if (bytes)
                {
                    pointer[vfio_irq_set.data_offset + i] = (byte)data[i];
                }
                else
                {
                    ((int*)(pointer + vfio_irq_set.data_offset))[i] = data[i];
                }
            }
        }

        return t.Ioctl(device, VFIO_DEVICE_SET_IRQS, argument);
    }

    /// <summary>Reads up to 8 bytes at an offset of a region.</summary>
    public static unsafe long ReadRegion(this TestHost t, int device, uint region, long offset, int bytes, out ulong value)
    {
        ulong buffer = 0;
        nint result = t.Kernel.Pread(device, (nint)(&buffer), (nuint)bytes, ((long)region << 40) + offset);
        value = buffer;
        return result;
    }

    public static ulong ReadRegion(this TestHost t, int device, uint region, long offset, int bytes)
    {
        Xunit.Assert.Equal(bytes, t.ReadRegion(device, region, offset, bytes, out ulong value));
        return value;
    }

    /// <summary>Writes up to 8 bytes at an offset of a region.</summary>
    public static unsafe long WriteRegion(this TestHost t, int device, uint region, long offset, int bytes, ulong value) =>
        t.Kernel.Pwrite(device, (nint)(&value), (nuint)bytes, ((long)region << 40) + offset);

    /// <summary>Takes an eventfd's counter; 0 when it is not readable within the time.</summary>
    public static unsafe ulong Take(this TestHost t, int eventfd, int timeoutMilliseconds = 5000)
    {
        var poll = new IommuFd.Native.PollDescriptor { Descriptor = eventfd, Events = IommuFd.Native.Libc.POLLIN };
        ulong count = 0;
        return t.Kernel.Poll((nint)(&poll), 1, timeoutMilliseconds) == 1 && t.Kernel.Read(eventfd, (nint)(&count), 8) == 8 ? count : 0;
    }
}
