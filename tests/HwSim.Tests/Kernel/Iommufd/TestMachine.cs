using IommuFd.HwSim;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;

using Xunit;

namespace HwSim.Tests.Kernel.Iommufd;

/// <summary>An iommufd with one process, and devices behind an IOMMU that only remembers what is mapped.</summary>
internal sealed unsafe class TestMachine : IDisposable
{
    public TestMachine(Capabilities capabilities = Capabilities.All, ulong memlock = ulong.MaxValue)
    {
        Memory = new PhysicalMemory();
        Module = new IommufdModule(Memory);
        Process = new TestProcess(capabilities, memlock);
        User = new InProcessUserMemory(Process);
        Context = Module.Open();
    }

    public PhysicalMemory Memory { get; }

    public IommufdModule Module { get; }

    public TestProcess Process { get; }

    public InProcessUserMemory User { get; }

    public IommufdContext Context { get; }

    public RecordingOps Ops { get; } = new();

    public IommuDevice AddDevice(string name = "0000:00:04.0", IommuGroup? group = null, IReadOnlyList<ReservedRegion>? reserved = null)
    {
        var device = new IommuDevice(name, Ops, Ops)
        {
            ReservedRegions = reserved ?? [new ReservedRegion(0xfee00000, 0x100000, ReservedRegionType.Msi)],
        };
        Assert.Equal(0, (group ?? new IommuGroup(1)).AddDevice(device));
        return device;
    }

    public int Ioctl<T>(uint request, ref T argument)
        where T : unmanaged
    {
        fixed (T* p = &argument)
        {
            *(uint*)p = (uint)sizeof(T);
            return Context.Ioctl(request, (ulong)p, User);
        }
    }

    public uint IoasAlloc()
    {
        var cmd = default(iommu_ioas_alloc);
        Assert.Equal(0, Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_ALLOC, ref cmd));
        return cmd.out_ioas_id;
    }

    public int Map(uint ioas, ulong va, ulong length, ulong iova, uint flags = 7)
    {
        var cmd = new iommu_ioas_map { ioas_id = ioas, user_va = va, length = length, iova = iova, flags = flags };
        return Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_MAP, ref cmd);
    }

    public int MapAuto(uint ioas, ulong va, ulong length, out ulong iova)
    {
        var cmd = new iommu_ioas_map { ioas_id = ioas, user_va = va, length = length, flags = 6 };
        var rc = Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_MAP, ref cmd);
        iova = cmd.iova;
        return rc;
    }

    public int Unmap(uint ioas, ulong iova, ulong length, out ulong unmapped)
    {
        var cmd = new iommu_ioas_unmap { ioas_id = ioas, iova = iova, length = length };
        var rc = Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_IOAS_UNMAP, ref cmd);
        unmapped = cmd.length;
        return rc;
    }

    public int Destroy(uint id)
    {
        var cmd = new iommu_destroy { id = id };
        return Ioctl(IommuFd.Native.Uapi.Iommufd.IOMMU_DESTROY, ref cmd);
    }

    /// <summary>Anonymous memory that the seam knows.</summary>
    public nint Mmap(nuint length)
    {
        var address = new LinuxHost().Kernel.Mmap(0, length, 3, 0x21, -1, 0);
        User.AddMapping(address, length);
        return address;
    }

    public void Dispose()
    {
        Context.Put();
        Memory.Dispose();
    }
}

internal sealed class TestProcess(Capabilities capabilities, ulong memlock) : SimulatedProcess(new SimulatedUser(0))
{
    public Dictionary<int, SimulatedFile> Files { get; } = [];

    public override Capabilities Capabilities { get; } = capabilities;

    public override ulong MemlockLimit { get; } = memlock;

    public override int InstallFile(SimulatedFile file)
    {
        Files.Add(1000 + Files.Count, file);
        return 999 + Files.Count;
    }

    public override SimulatedFile? GetFile(int descriptor) => Files.TryGetValue(descriptor, out var file) && file.TryGet() ? file : null;
}

internal sealed class RecordingOps : IommuOps
{
    public RecordingOps() => Blocked = new RecordingDomain(IommuDomainType.Blocked, this);

    public RecordingDomain Blocked { get; }

    public List<RecordingDomain> Domains { get; } = [];

    public override IommuDomain BlockedDomain => Blocked;

    public override bool Capable(IommuDevice device, IommuCapability capability) => capability == IommuCapability.CacheCoherency;

    public override int DomainAllocPaging(IommuDevice device, uint flags, IommuUserData? data, out IommuDomain? domain)
    {
        var made = new RecordingDomain(IommuDomainType.Unmanaged, this);
        Domains.Add(made);
        domain = made;
        return 0;
    }

    public override IommuDomain DomainAllocDefault(IommuDevice device) => new RecordingDomain(IommuDomainType.Dma, this);
}

internal sealed class RecordingDomain : IommuDomain
{
    public RecordingDomain(IommuDomainType type, IommuOps owner)
        : base(type, owner)
    {
        PageSizeBitmap = 0x40201000;
        ApertureEnd = (1UL << 48) - 1;
    }

    public SortedList<ulong, (ulong Physical, ulong Size, IommuProt Prot)> Maps { get; } = [];

    public int Attached { get; private set; }

    public bool Freed { get; private set; }

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        Attached++;
        if (old is RecordingDomain before)
        {
            before.Attached--;
        }

        return 0;
    }

    public override int Map(ulong iova, ulong physical, ulong size, IommuProt prot)
    {
        Maps.Add(iova, (physical, size, prot));
        return 0;
    }

    public override ulong Unmap(ulong iova, ulong size)
    {
        foreach (var key in Maps.Keys.Where(k => k >= iova && k < iova + size).ToArray())
        {
            Maps.Remove(key);
        }

        return size;
    }

    public override void Free() => Freed = true;
}
