using IommuFd.HwSim;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Uapi = IommuFd.Native.Uapi.Iommufd;
using Xunit;

namespace HwSim.Tests.Kernel.Load;

/// <summary>What the threads of a load call, through the seam, as a program does. Any thread.</summary>
internal sealed unsafe class SeamCalls(SimulatedHost host)
{
    public const string Edu = "0000:00:04.0", Nvme = "0000:00:05.0", PairA = "0000:02:01.0", PairB = "0000:02:02.0";
    public const ulong Page = 4096;

    public SimulatedHost Host => host;

    public IKernel Kernel => host.Kernel;

    public int Ioctl<T>(int fd, uint request, ref T argument)
        where T : unmanaged
    {
        fixed (T* pointer = &argument)
        {
            return Kernel.Ioctl(fd, request, (nint)pointer);
        }
    }

    /// <summary>Gives a function to vfio-pci.</summary>
    public void BindToVfio(string device)
    {
        if (host.Sysfs.ReadLink(Path(device, "driver"), out string driver) >= 0)
        {
            Ok(host.Sysfs.WriteText($"/sys/bus/pci/drivers/{driver[(driver.LastIndexOf('/') + 1)..]}/unbind", device));
        }

        Ok(host.Sysfs.WriteText(Path(device, "driver_override"), "vfio-pci"));
        Ok(host.Sysfs.WriteText("/sys/bus/pci/drivers_probe", device));
    }

    public static string Path(string device, string attribute) => $"/sys/bus/pci/devices/{device}/{attribute}";

    public int OpenIommu() => Ok(Kernel.Open("/dev/iommu", Libc.O_RDWR, 0));

    public int OpenDevice(string device)
    {
        Ok(host.Sysfs.List(Path(device, "vfio-dev"), out string[] names));
        return Ok(Kernel.Open($"/dev/vfio/devices/{names[0]}", Libc.O_RDWR, 0));
    }

    public uint Bind(int device, int iommufd)
    {
        var bind = new vfio_device_bind_iommufd { argsz = (uint)sizeof(vfio_device_bind_iommufd), iommufd = iommufd };
        Ok(Ioctl(device, Vfio.VFIO_DEVICE_BIND_IOMMUFD, ref bind));
        return bind.out_devid;
    }

    public int Attach(int device, uint table)
    {
        var attach = new vfio_device_attach_iommufd_pt { argsz = (uint)sizeof(vfio_device_attach_iommufd_pt), pt_id = table };
        return Ioctl(device, Vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT, ref attach);
    }

    public int Detach(int device)
    {
        var detach = new vfio_device_detach_iommufd_pt { argsz = (uint)sizeof(vfio_device_detach_iommufd_pt) };
        return Ioctl(device, Vfio.VFIO_DEVICE_DETACH_IOMMUFD_PT, ref detach);
    }

    public uint IoasAlloc(int iommufd)
    {
        var cmd = new iommu_ioas_alloc { size = (uint)sizeof(iommu_ioas_alloc) };
        Ok(Ioctl(iommufd, Uapi.IOMMU_IOAS_ALLOC, ref cmd));
        return cmd.out_ioas_id;
    }

    /// <summary>flags: 1 fixed IOVA, 2 writeable, 4 readable.</summary>
    public int Map(int iommufd, uint ioas, nint va, ulong length, ref ulong iova, uint flags = 7)
    {
        var cmd = new iommu_ioas_map { size = (uint)sizeof(iommu_ioas_map), ioas_id = ioas, user_va = (ulong)va, length = length, iova = iova,
            flags = flags };
        int result = Ioctl(iommufd, Uapi.IOMMU_IOAS_MAP, ref cmd);
        iova = cmd.iova;
        return result;
    }

    public int Unmap(int iommufd, uint ioas, ulong iova, ulong length, out ulong unmapped)
    {
        var cmd = new iommu_ioas_unmap { size = (uint)sizeof(iommu_ioas_unmap), ioas_id = ioas, iova = iova, length = length };
        int result = Ioctl(iommufd, Uapi.IOMMU_IOAS_UNMAP, ref cmd);
        unmapped = cmd.length;
        return result;
    }

    public int Copy(int iommufd, uint to, uint from, ulong source, ulong length, ref ulong iova, uint flags = 6)
    {
        var cmd = new iommu_ioas_copy
        {
            size = (uint)sizeof(iommu_ioas_copy), flags = flags, dst_ioas_id = to, src_ioas_id = from, length = length, dst_iova = iova,
            src_iova = source,
        };
        int result = Ioctl(iommufd, Uapi.IOMMU_IOAS_COPY, ref cmd);
        iova = cmd.dst_iova;
        return result;
    }

    public int HwptAlloc(int iommufd, uint device, uint table, uint flags, out uint hwpt)
    {
        var cmd = new iommu_hwpt_alloc { size = (uint)sizeof(iommu_hwpt_alloc), flags = flags, dev_id = device, pt_id = table };
        int result = Ioctl(iommufd, Uapi.IOMMU_HWPT_ALLOC, ref cmd);
        hwpt = cmd.out_hwpt_id;
        return result;
    }

    public int Test(int iommufd, iommu_test_op op, ref iommu_test_cmd cmd)
    {
        (cmd.size, cmd.op) = ((uint)sizeof(iommu_test_cmd), (uint)op);
        return Ioctl(iommufd, iommu_test_cmd.IOMMU_TEST_CMD, ref cmd);
    }

    public int Destroy(int iommufd, uint id)
    {
        var cmd = new iommu_destroy { size = (uint)sizeof(iommu_destroy), id = id };
        return Ioctl(iommufd, Uapi.IOMMU_DESTROY, ref cmd);
    }

    /// <summary>VFIO_DEVICE_SET_IRQS of MSI-X from vector 0.</summary>
    public int SetIrqs(int device, uint flags, uint count, params ReadOnlySpan<int> eventfds)
    {
        byte* bytes = stackalloc byte[64];
        *(vfio_irq_set*)bytes = new vfio_irq_set
        {
            argsz = (uint)(vfio_irq_set.data_offset + (eventfds.Length * 4)), flags = flags, index = Vfio.VFIO_PCI_MSIX_IRQ_INDEX, count = count,
        };
        eventfds.CopyTo(new Span<int>(bytes + vfio_irq_set.data_offset, eventfds.Length));
        return Kernel.Ioctl(device, Vfio.VFIO_DEVICE_SET_IRQS, (nint)bytes);
    }

    public nint Pages(int count)
    {
        nint address = Kernel.Mmap(0, (nuint)(count * 4096), Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        Assert.False(address is < 0 and >= -4095);
        return address;
    }

    public ulong ReadRegion(int device, uint region, long offset, int bytes)
    {
        ulong value = 0;
        Assert.Equal(bytes, Kernel.Pread(device, (nint)(&value), (nuint)bytes, ((long)region << 40) + offset));
        return value;
    }

    public void WriteRegion(int device, uint region, long offset, int bytes, ulong value) =>
        Assert.Equal(bytes, Kernel.Pwrite(device, (nint)(&value), (nuint)bytes, ((long)region << 40) + offset));

    /// <summary>The edu's DMA engine: bytes into its buffer, or out of it.</summary>
    public void Dma(int device, ulong iova, ulong count, bool toMemory)
    {
        const ulong buffer = 0x40000;
        WriteRegion(device, 0, 0x80, 8, toMemory ? buffer : iova);
        WriteRegion(device, 0, 0x88, 8, toMemory ? iova : buffer);
        WriteRegion(device, 0, 0x90, 8, count);
        WriteRegion(device, 0, 0x98, 8, toMemory ? 3u : 1u);
        for (int i = 0; (ReadRegion(device, 0, 0x98, 8) & 1) != 0; i++)
        {
            Assert.True(i < 5000, "the DMA does not end");
            Thread.Sleep(1);
        }
    }

    public static int Ok(int result)
    {
        Assert.True(result >= 0, Errno.Name(-result));
        return result;
    }

    /// <summary>Success, or one of the errors that a race between the threads may give.</summary>
    public static bool OkOr(int result, params ReadOnlySpan<int> errors)
    {
        Assert.True(result >= 0 || errors.Contains(-result), Errno.Name(-result));
        return result >= 0;
    }
}
