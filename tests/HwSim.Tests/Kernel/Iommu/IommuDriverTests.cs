using IommuFd.HwSim;
using IommuFd.HwSim.Kernel;
using IommuFd.HwSim.Units;
using IommuFd.Native.Uapi;
using Xunit;

namespace HwSim.Tests.Kernel.Iommu;

/// <summary>The drivers of all families under the same rules: the domain says where DMA goes, at once and for nobody else.</summary>
public sealed class IommuDriverTests
{
    private const uint Dirty = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
    private const uint Pasid = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID;
    private const uint Parent = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT;
    private const IommuProt ReadWrite = IommuProt.Read | IommuProt.Write | IommuProt.Cache;

    public static TheoryData<string> Families => ["intel", "intel-scalable", "amd", "arm-smmuv3", "riscv"];

    private sealed class Machine : IDisposable
    {
        public Machine(string family)
        {
            Memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 64 << 20 });
            switch (family)
            {
                case "intel":
                    var vtd = new VtdUnit(Memory);
                    var vtdOps = new VtdOps();
                    vtdOps.Probe(vtd);
                    (Unit, Ops) = (vtd, vtdOps);
                    break;
                case "amd":
                    var amd = new AmdViUnit(Memory);
                    var amdOps = new AmdOps();
                    amdOps.Probe(amd);
                    (Unit, Ops) = (amd, amdOps);
                    break;
                case "arm-smmuv3":
                    var smmu = new SmmuV3Unit(Memory);
                    var smmuOps = new SmmuOps();
                    smmuOps.Probe(smmu);
                    (Unit, Ops) = (smmu, smmuOps);
                    break;
                default:
                    var riscv = new RiscvIommuUnit(Memory);
                    var riscvOps = new RiscvOps(isCoherent: true);
                    riscvOps.Probe(riscv);
                    (Unit, Ops) = (riscv, riscvOps);
                    break;
            }

            Unit.ChecksStaleness = true;
        }

        public PhysicalMemory Memory { get; }

        public IommuUnit Unit { get; }

        public IommuOps Ops { get; }

        public IommuDevice Device(ushort requesterId, uint pasids = 0) =>
            new($"0000:00:{requesterId >> 3:x2}.{requesterId & 7}", Ops, Unit) { RequesterId = requesterId, MaxPasids = pasids };

        public IommuDomain Domain(IommuDevice device, uint flags = 0)
        {
            Assert.Equal(0, Ops.DomainAllocPaging(device, flags, null, out var domain));
            return domain!;
        }

        public ulong? Reach(ushort requesterId, ulong iova, DmaAccess access = DmaAccess.Read, uint pasid = DmaRequest.NoPasid) =>
            Unit.Translate(new DmaRequest(requesterId, pasid, iova, access), out var translation) ? translation.Output : null;

        public void Dispose()
        {
            Assert.Empty(Unit.StaleUses);
            Memory.Dispose();
        }
    }

    [Theory, MemberData(nameof(Families))]
    public void A_device_reaches_nothing_before_it_is_attached(string family)
    {
        using var machine = new Machine(family);
        Assert.Null(machine.Reach(0x20, 0x5000));
        var device = machine.Device(0x20);
        Assert.Equal(0, machine.Ops.BlockedDomain!.AttachDevice(device, null));
        Assert.Null(machine.Reach(0x20, 0x5000));
    }

    [Theory, MemberData(nameof(Families))]
    public void DMA_follows_map_and_unmap_of_the_domain_at_once(string family)
    {
        using var machine = new Machine(family);
        var device = machine.Device(0x20);
        var domain = machine.Domain(device);
        Assert.Equal(0, domain.AttachDevice(device, null));
        Assert.Equal(0, domain.Map(0x5000, 0x1_2345_6000, 0x3000, ReadWrite));
        Assert.Equal(0x1_2345_7123UL, machine.Reach(0x20, 0x6123));
        Assert.Equal(0x1_2345_6000UL, domain.IovaToPhys(0x5000));
        Assert.Equal(0x1000UL, domain.Unmap(0x6000, 0x1000));
        Assert.Null(machine.Reach(0x20, 0x6123));
        Assert.Equal(0x1_2345_8000UL, machine.Reach(0x20, 0x7000, DmaAccess.Write));
        Assert.Equal(0, domain.Map(0x6000, 0x9000, 0x1000, IommuProt.Read | IommuProt.Cache));
        Assert.Equal(0x9000UL, machine.Reach(0x20, 0x6000));
        Assert.Null(machine.Reach(0x20, 0x6000, DmaAccess.Write));
        Assert.Equal(0UL, domain.IovaToPhys(0x8000));
    }

    [Theory, MemberData(nameof(Families))]
    public void Two_domains_do_not_see_each_other_and_two_devices_of_one_do(string family)
    {
        using var machine = new Machine(family);
        var (a, b, c) = (machine.Device(0x20), machine.Device(0x28), machine.Device(0x1F8));
        var first = machine.Domain(a);
        var second = machine.Domain(c);
        Assert.Equal(0, first.AttachDevice(a, null));
        Assert.Equal(0, first.AttachDevice(b, null));
        Assert.Equal(0, second.AttachDevice(c, null));
        first.Map(0x5000, 0x10_0000, 0x1000, ReadWrite);
        second.Map(0x5000, 0x20_0000, 0x1000, ReadWrite);
        Assert.Equal(0x10_0000UL, machine.Reach(0x20, 0x5000));
        Assert.Equal(0x10_0000UL, machine.Reach(0x28, 0x5000));
        Assert.Equal(0x20_0000UL, machine.Reach(0x1F8, 0x5000));
    }

    [Theory, MemberData(nameof(Families))]
    public void A_device_that_changes_its_domain_leaves_nothing_behind(string family)
    {
        using var machine = new Machine(family);
        var device = machine.Device(0x20);
        var first = machine.Domain(device);
        var second = machine.Domain(device);
        first.Map(0x5000, 0x10_0000, 0x1000, ReadWrite);
        second.Map(0x6000, 0x20_0000, 0x1000, ReadWrite);
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(0, first.AttachDevice(device, i == 0 ? null : machine.Ops.BlockedDomain));
            Assert.Equal(0x10_0000UL, machine.Reach(0x20, 0x5000));
            Assert.Equal(0, second.AttachDevice(device, first));
            Assert.Null(machine.Reach(0x20, 0x5000));
            Assert.Equal(0x20_0000UL, machine.Reach(0x20, 0x6000));
            Assert.Equal(0, machine.Ops.BlockedDomain!.AttachDevice(device, second));
            Assert.Null(machine.Reach(0x20, 0x6000));
        }

        first.Free();
        second.Free();
    }

    [Theory, MemberData(nameof(Families))]
    public void Large_ranges_use_large_pages_up_to_the_end_of_the_aperture(string family)
    {
        using var machine = new Machine(family);
        var device = machine.Device(0x20);
        var domain = machine.Domain(device);
        domain.AttachDevice(device, null);
        Assert.NotEqual(0UL, domain.PageSizeBitmap & (1 << 21));
        var end = domain.ApertureEnd;
        Assert.Equal(0, domain.Map(end - 0x3FFF_FFFF, 0x4000_0000, 0x4000_0000, ReadWrite));
        Assert.Equal(0x7FFF_FFFFUL, machine.Reach(0x20, end));
        Assert.Equal(0x4000_0000UL, domain.Unmap(end - 0x3FFF_FFFF, 0x4000_0000));
        Assert.Null(machine.Reach(0x20, end));
    }

    [Theory]
    [InlineData("amd")]
    [InlineData("arm-smmuv3")]
    public void Dirty_pages_are_those_that_the_device_wrote(string family)
    {
        using var machine = new Machine(family);
        var device = machine.Device(0x20);
        Assert.True(machine.Ops.Capable(device, IommuCapability.DirtyTracking));
        var domain = machine.Domain(device, Dirty);
        Assert.True(domain.HasDirtyTracking);
        domain.AttachDevice(device, null);
        domain.Map(0x10_0000, 0x20_0000, 0x4000, ReadWrite);
        Assert.Equal(0, domain.ReadAndClearDirty(0x10_0000, 0x4000, noClear: false, dirty: null));
        Assert.Equal(0, domain.SetDirtyTracking(true));
        Assert.NotNull(machine.Reach(0x20, 0x10_0000));
        Assert.Empty(DirtyPages(domain, noClear: true));
        Assert.NotNull(machine.Reach(0x20, 0x10_2000, DmaAccess.Write));
        Assert.NotEmpty(DirtyPages(domain, noClear: true));
        Assert.NotEmpty(DirtyPages(domain, noClear: false));
        Assert.Empty(DirtyPages(domain, noClear: true));
        Assert.NotNull(machine.Reach(0x20, 0x10_2000, DmaAccess.Write));
        Assert.NotEmpty(DirtyPages(domain, noClear: false));
    }

    private static unsafe List<int> DirtyPages(IommuDomain domain, bool noClear)
    {
        var word = 0UL;
        var bitmap = new DirtyBitmap(new InProcessUserMemory(new Process()), (ulong)&word, 0x10_0000, 0x4000, 0x1000);
        Assert.Equal(0, domain.ReadAndClearDirty(0x10_0000, 0x4000, noClear, bitmap));
        var pages = new List<int>();
        for (var i = 0; i < 4; i++)
        {
            if ((word >> i & 1) != 0)
                pages.Add(i);
        }

        return pages;
    }

    private sealed class Process() : SimulatedProcess(new SimulatedUser(0))
    {
        public override int InstallFile(SimulatedFile file) => -1;

        public override SimulatedFile? GetFile(int descriptor) => null;
    }

    [Theory]
    [InlineData("amd")]
    [InlineData("arm-smmuv3")]
    public void A_PASID_has_a_domain_of_its_own(string family)
    {
        using var machine = new Machine(family);
        var device = machine.Device(0x20, 1 << 16);
        var own = machine.Domain(device, Pasid);
        var other = machine.Domain(device, Pasid);
        own.AttachDevice(device, null);
        own.Map(0x5000, 0x10_0000, 0x1000, ReadWrite);
        other.Map(0x5000, 0x20_0000, 0x1000, ReadWrite);
        Assert.Null(machine.Reach(0x20, 0x5000, pasid: 77));
        Assert.Equal(0, other.SetDevicePasid(device, 77, null));
        Assert.Equal(0x20_0000UL, machine.Reach(0x20, 0x5000, pasid: 77));
        Assert.Equal(0x10_0000UL, machine.Reach(0x20, 0x5000));
        other.Unmap(0x5000, 0x1000);
        Assert.Null(machine.Reach(0x20, 0x5000, pasid: 77));
        other.Map(0x5000, 0x30_0000, 0x1000, ReadWrite);
        Assert.Equal(0x30_0000UL, machine.Reach(0x20, 0x5000, pasid: 77));
        Assert.Equal(0, machine.Ops.BlockedDomain!.SetDevicePasid(device, 77, other));
        Assert.Null(machine.Reach(0x20, 0x5000, pasid: 77));
        Assert.Equal(0x10_0000UL, machine.Reach(0x20, 0x5000));
    }

    [Fact]
    public void A_nest_parent_of_an_SMMU_is_a_stage_2_table()
    {
        using var machine = new Machine("arm-smmuv3");
        var device = machine.Device(0x20);
        var domain = machine.Domain(device, Parent);
        domain.AttachDevice(device, null);
        domain.Map(0x5000, 0x10_0000, 0x1000, IommuProt.Write | IommuProt.Cache);
        Assert.Null(machine.Reach(0x20, 0x5000));
        Assert.Equal(0x10_0000UL, machine.Reach(0x20, 0x5000, DmaAccess.Write));
        domain.Unmap(0x5000, 0x1000);
        Assert.Null(machine.Reach(0x20, 0x5000, DmaAccess.Write));
    }

    [Fact]
    public void An_AMD_table_grows_under_attached_devices()
    {
        using var machine = new Machine("amd");
        var device = machine.Device(0x20);
        var domain = machine.Domain(device);
        domain.AttachDevice(device, null);
        domain.Map(0x5000, 0x10_0000, 0x1000, ReadWrite);
        Assert.Equal(0x10_0000UL, machine.Reach(0x20, 0x5000));
        domain.Map(1UL << 55, 0x20_0000, 0x1000, ReadWrite);
        Assert.Equal(0x20_0000UL, machine.Reach(0x20, 1UL << 55));
        Assert.Equal(0x10_0000UL, machine.Reach(0x20, 0x5000));
    }

    [Fact]
    public void The_RISC_V_driver_of_Linux_7_3_reports_no_cache_coherency()
    {
        using var memory = new PhysicalMemory(new PhysicalMemoryOptions { ArenaSize = 4 << 20 });
        var unit = new RiscvIommuUnit(memory);
        var ops = new RiscvOps(isCoherent: false);
        ops.Probe(unit);
        Assert.False(ops.Capable(new IommuDevice("0000:00:04.0", ops, unit), IommuCapability.CacheCoherency));
    }
}
