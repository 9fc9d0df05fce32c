using IommuFd.HwSim;
using IommuFd.HwSim.Kernel;
using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>The machine 'rfc' with one process: its files, the proposal's calls, and DMA as the unit translates it.</summary>
internal sealed unsafe class RfcMachine : IDisposable
{
    public const ulong Page = 4096;
    public const string Edu = "0000:00:04.0", PairA = "0000:02:01.0", PairB = "0000:02:02.0", Accelerator = "0000:00:08.0",
        Framebuffer = "0000:00:09.0", Enqcmd = "0000:00:0a.0", Parent = "0000:00:0b.0", SecondParent = "0000:00:0c.0", Nic = "0000:01:00.0";

    public RfcMachine(string topology = "rfc")
        : this(Topology.ByName(topology))
    {
    }

    public RfcMachine(Topology topology) => Host = new SimulatedHost(topology);

    public SimulatedHost Host { get; }

    public IKernel Kernel => Host.Kernel;

    /// <summary>open of /dev/iommu.</summary>
    public int OpenIommu() => Succeeds(Kernel.Open("/dev/iommu", Libc.O_RDWR | Libc.O_CLOEXEC, 0));

    /// <summary>Gives a function to vfio-pci.</summary>
    public void BindVfio(string address)
    {
        string path = $"/sys/bus/pci/devices/{address}";
        if (Host.Sysfs.Status(path + "/driver", out _) == 0)
        {
            if (Host.Sysfs.ReadLink(path + "/driver", out string driver) > 0 && driver.EndsWith("/vfio-pci", StringComparison.Ordinal))
            {
                return;
            }

            Succeeds(Host.Sysfs.WriteText(path + "/driver/unbind", address));
        }

        Succeeds(Host.Sysfs.WriteText(path + "/driver_override", "vfio-pci"));
        Succeeds(Host.Sysfs.WriteText("/sys/bus/pci/drivers_probe", address));
    }

    /// <summary>open of a device's node, after giving it to vfio-pci.</summary>
    public int OpenDevice(string address)
    {
        BindVfio(address);
        Succeeds(Host.Sysfs.List($"/sys/bus/pci/devices/{address}/vfio-dev", out string[] names));
        return OpenNode(names[0]);
    }

    public int OpenNode(string name) => Succeeds(Kernel.Open($"/dev/vfio/devices/{name}", Libc.O_RDWR | Libc.O_CLOEXEC, 0));

    /// <summary>Makes a mediated device: its name.</summary>
    public string CreateMdev(string type, string parent = "siov")
    {
        string uuid = Guid.NewGuid().ToString("D");
        Succeeds(Host.Sysfs.WriteText($"/sys/class/mdev_bus/{parent}/mdev_supported_types/{parent}-{type}/create", uuid));
        return uuid;
    }

    /// <summary>open of a mediated device's node.</summary>
    public int OpenMdev(string uuid)
    {
        Succeeds(Host.Sysfs.List($"/sys/bus/mdev/devices/{uuid}/vfio-dev", out string[] names));
        return OpenNode(names[0]);
    }

    /// <summary>A new mediated device that is bound.</summary>
    public int OpenBoundMdev(string type, int iommu, ulong cookie, string parent = "siov")
    {
        int device = OpenMdev(CreateMdev(type, parent));
        Assert.Equal(0, Bind(device, iommu, cookie));
        return device;
    }

    /// <summary>What a mediated device reads from memory: null for a fault, or for a PASID that leads nowhere.</summary>
    public ulong? MdevRead(int device, ulong iova, uint? vpasid = null) => MdevRun(device, iova, 0, vpasid, 1, out ulong data) == 1 ? data : null;

    /// <summary>True when a mediated device's write arrives.</summary>
    public bool MdevWrite(int device, ulong iova, ulong data, uint? vpasid = null) => MdevRun(device, iova, data, vpasid, 2, out _) == 1;

    private uint MdevRun(int device, ulong iova, ulong data, uint? vpasid, uint command, out ulong result)
    {
        uint pasid = vpasid is { } number ? number | (1u << 31) : 0, status;
        ulong read;
        Assert.Equal(8, Kernel.Pwrite(device, (nint)(&iova), 8, 0x00));
        Assert.Equal(8, Kernel.Pwrite(device, (nint)(&data), 8, 0x08));
        Assert.Equal(4, Kernel.Pwrite(device, (nint)(&pasid), 4, 0x10));
        Assert.Equal(4, Kernel.Pwrite(device, (nint)(&command), 4, 0x14));
        Assert.Equal(4, Kernel.Pread(device, (nint)(&status), 4, 0x18));
        Assert.Equal(8, Kernel.Pread(device, (nint)(&read), 8, 0x08));
        result = read;
        return status;
    }

    /// <summary>A device that is bound, with the cookie given.</summary>
    public int OpenBound(string address, int iommu, ulong cookie)
    {
        int device = OpenDevice(address);
        Assert.Equal(0, Bind(device, iommu, cookie));
        return device;
    }

    public int Ioctl<T>(int descriptor, uint request, ref T argument)
        where T : unmanaged
    {
        fixed (T* p = &argument)
        {
            return Kernel.Ioctl(descriptor, request, (nint)p);
        }
    }

    public int Bind(int device, int iommu, ulong cookie)
    {
        vfio_bind_iommu_fd bind = new() { argsz = (uint)sizeof(vfio_bind_iommu_fd), iommu_fd = iommu, cookie = cookie };
        return Ioctl(device, VFIO_BIND_IOMMU_FD, ref bind);
    }

    public int Attach(int device, int iommu, int ioasid, uint? vpasid = null, uint flags = 0)
    {
        vfio_attach_ioasid attach = Argument(iommu, ioasid, vpasid, flags);
        return Ioctl(device, VFIO_ATTACH_IOASID, ref attach);
    }

    public int Detach(int device, int iommu, int ioasid, uint? vpasid = null)
    {
        vfio_attach_ioasid attach = Argument(iommu, ioasid, vpasid, 0);
        return Ioctl(device, VFIO_DETACH_IOASID, ref attach);
    }

    /// <summary>A kernel-managed space: a root, or with a parent a child that the kernel nests in software.</summary>
    public int Alloc(int iommu, int parent = IOMMU_IOASID_NO_PARENT, uint flags = IOMMU_IOASID_SNOOP_AUTO, uint width = 48) =>
        Alloc(iommu, new iommu_ioasid_alloc_attr { flags = flags, type = IOMMU_IOASID_TYPE_KERNEL_TYPE1V2, addr_width = width, parent = parent });

    public int Alloc(int iommu, iommu_ioasid_alloc_attr attributes)
    {
        attributes.argsz = (uint)sizeof(iommu_ioasid_alloc_attr);
        return Ioctl(iommu, IOMMU_IOASID_ALLOC, ref attributes);
    }

    public int Free(int iommu, int ioasid) => Ioctl(iommu, IOMMU_IOASID_FREE, ref ioasid);

    public int GetInfo(int iommu, ulong cookie, out iommu_device_info info)
    {
        info = new iommu_device_info { argsz = (uint)sizeof(iommu_device_info), dev_cookie = cookie };
        return Ioctl(iommu, IOMMU_DEVICE_GET_INFO, ref info);
    }

    /// <summary>The capabilities of a device: id and what follows the head.</summary>
    public List<(ushort Id, byte[] Payload)> Capabilities(int iommu, ulong cookie)
    {
        byte[] buffer = new byte[4096];
        fixed (byte* bytes = buffer)
        {
            *(iommu_device_info*)bytes = new iommu_device_info { argsz = (uint)buffer.Length, dev_cookie = cookie };
            Succeeds(Kernel.Ioctl(iommu, IOMMU_DEVICE_GET_INFO, (nint)bytes));
            return Chain(buffer, ((iommu_device_info*)bytes)->cap_offset);
        }
    }

    /// <summary>The capabilities that begin at an offset of a buffer.</summary>
    public static List<(ushort Id, byte[] Payload)> Chain(byte[] buffer, uint at)
    {
        var found = new List<(ushort, byte[])>();
        while (at != 0)
        {
            uint next = BitConverter.ToUInt32(buffer, (int)at + 4);
            found.Add((BitConverter.ToUInt16(buffer, (int)at), buffer[((int)at + 8)..(next == 0 ? buffer.Length : (int)next)]));
            at = next;
        }

        return found;
    }

    /// <summary>The ranges that a device's spaces may map.</summary>
    public IReadOnlyList<(ulong First, ulong Last)> PermittedRanges(int iommu, ulong cookie)
    {
        byte[] payload = Capabilities(iommu, cookie).Find(static c => c.Id == IOMMU_DEVICE_INFO_CAP_IOVA_RANGE).Payload;
        return [.. Enumerable.Range(0, BitConverter.ToInt32(payload))
            .Select(i => (BitConverter.ToUInt64(payload, 8 + (16 * i)), BitConverter.ToUInt64(payload, 16 + (16 * i))))];
    }

    /// <summary>The machine with a unit that cannot enforce snooping.</summary>
    public static Topology WithoutSnoopControl() => Topology.Parse(
        """{ "name": "no-snoop-control", "extends": "rfc", "iommu": { "lacks": ["snoop-control"] } }""");

    public int Map(int iommu, int ioasid, ulong iova, ulong address, ulong size, uint flags = 3)
    {
        iommu_ioasid_dma_map map = new()
        {
            op = new iommu_ioasid_dma_op { argsz = (uint)sizeof(iommu_ioasid_dma_map), ioasid = ioasid },
            map = new vfio_iommu_type1_dma_map { argsz = (uint)sizeof(vfio_iommu_type1_dma_map), flags = flags, vaddr = address, iova = iova,
                size = size },
        };
        return Ioctl(iommu, IOMMU_MAP_DMA, ref map);
    }

    /// <summary>The bytes unmapped, or -errno.</summary>
    public long Unmap(int iommu, int ioasid, ulong iova, ulong size, uint flags = 0)
    {
        iommu_ioasid_dma_unmap unmap = new()
        {
            op = new iommu_ioasid_dma_op { argsz = (uint)sizeof(iommu_ioasid_dma_unmap), ioasid = ioasid },
            unmap = new vfio_iommu_type1_dma_unmap { argsz = (uint)sizeof(vfio_iommu_type1_dma_unmap), flags = flags, iova = iova, size = size },
        };
        int error = Ioctl(iommu, IOMMU_UNMAP_DMA, ref unmap);
        return error < 0 ? error : (long)unmap.unmap.size;
    }

    /// <summary>A child whose VT-d first-stage table the user manages.</summary>
    public int AllocUserTable(
        int iommu, int parent, ulong table, uint flags = 0, iommu_ioasid_format format = iommu_ioasid_format.IOMMU_IOASID_FORMAT_VTD_S1,
        uint width = 48) =>
        Alloc(iommu, new iommu_ioasid_alloc_attr
        {
            flags = flags,
            type = IOMMU_IOASID_TYPE_USER,
            addr_width = width,
            parent = parent,
            format = (uint)format,
            addr = table,
            user_pgtable = 1,
        });

    public int Invalidate(int iommu, int ioasid, iommu_inv_granularity granularity, uint cache, ulong addr = 0, ulong pages = 0, ulong? cookie = null)
    {
        iommu_ioasid_invalidate request = new()
        {
            argsz = (uint)sizeof(iommu_ioasid_invalidate),
            flags = cookie is null ? 0 : IOMMU_IOASID_INVALIDATE_COOKIE,
            ioasid = ioasid,
            cache = cache,
            granularity = (uint)granularity,
            cookie = cookie ?? 0,
            addr = addr,
            granule_size = pages == 0 ? 0 : Page,
            nb_granules = pages,
        };
        return Ioctl(iommu, IOMMU_INVALIDATE_CACHE, ref request);
    }

    /// <summary>The PASID capability of a bound device: flags and width; null without.</summary>
    public (uint Flags, uint Width)? PasidCapability(int device)
    {
        byte[] buffer = new byte[256];
        fixed (byte* bytes = buffer)
        {
            var info = (vfio_device_info*)bytes;
            info->argsz = (uint)buffer.Length;
            Succeeds(Kernel.Ioctl(device, Vfio.VFIO_DEVICE_GET_INFO, (nint)bytes));
            (ushort Id, byte[] Payload) found = Chain(buffer, (info->flags & Vfio.VFIO_DEVICE_FLAGS_CAPS) != 0 ? info->cap_offset : 0)
                .Find(static c => c.Id == VFIO_DEVICE_INFO_CAP_PASID);
            return found.Payload is null ? null : (BitConverter.ToUInt32(found.Payload), BitConverter.ToUInt32(found.Payload, 4));
        }
    }

    /// <summary>Zeroed memory of the process.</summary>
    public ulong Memory(ulong size)
    {
        nint address = Kernel.Mmap(0, (nuint)size, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        Assert.False(address is < 0 and > -4096);
        return (ulong)address;
    }

    /// <summary>Memory that begins with a word.</summary>
    public ulong Memory(ulong size, ulong word)
    {
        ulong address = Memory(size);
        *(ulong*)address = word;
        return address;
    }

    /// <summary>The requester id that a function's DMA carries.</summary>
    public ushort RequesterId(string address) => Host.Device(address)!.RequesterId;

    /// <summary>What a function reads by DMA: null for a fault.</summary>
    public ulong? DmaRead(string address, ulong iova, uint pasid = DmaRequest.NoPasid)
    {
        ulong word;
        return Host.Unit!.Read(RequesterId(address), pasid, iova, &word, 8) == DmaStatus.Success ? word : null;
    }

    /// <summary>True when a function's DMA write arrives.</summary>
    public bool DmaWrite(string address, ulong iova, ulong word, uint pasid = DmaRequest.NoPasid) =>
        Host.Unit!.Write(RequesterId(address), pasid, iova, &word, 8) == DmaStatus.Success;

    /// <summary>poll(2) of one descriptor, without waiting.</summary>
    public bool IsReadable(int descriptor)
    {
        PollDescriptor poll = new() { Descriptor = descriptor, Events = Libc.POLLIN };
        return Kernel.Poll((nint)(&poll), 1, 0) > 0;
    }

    /// <summary>Pages that are pinned for devices.</summary>
    public ulong PinnedPages => Host.Process.PinnedPages.Pages;

    /// <summary>Pages that are charged to the user.</summary>
    public ulong ChargedPages => Host.Process.User.LockedPages.Pages;

    /// <summary>The group of a function.</summary>
    public IommuGroup Group(string address) => Host.IommuDevice(address)!.Group!;

    /// <summary>Gives a function to a driver of the host that does DMA.</summary>
    public void GiveToHost(string address)
    {
        string path = $"/sys/bus/pci/devices/{address}";
        if (Host.Sysfs.Status(path + "/driver", out _) == 0)
        {
            Succeeds(Host.Sysfs.WriteText(path + "/driver/unbind", address));
        }

        Succeeds(Host.Sysfs.WriteText(path + "/driver_override", "nvme"));
        Succeeds(Host.Sysfs.WriteText("/sys/bus/pci/drivers_probe", address));
        Succeeds(Host.Sysfs.Status(path + "/driver", out _));
    }

    public void Dispose() => Host.Dispose();

    public static int Succeeds(int result)
    {
        Assert.True(result >= 0, Errno.Name(-result));
        return result;
    }

    private static vfio_attach_ioasid Argument(int iommu, int ioasid, uint? vpasid, uint flags) => new()
    {
        argsz = (uint)sizeof(vfio_attach_ioasid),
        flags = flags | (vpasid is null ? 0 : IOASID_ATTACH_VPASID),
        iommu_fd = iommu,
        ioasid = ioasid,
        vpasid = vpasid ?? 0,
    };
}
