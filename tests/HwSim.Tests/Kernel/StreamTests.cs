using HwSim.Tests.Kernel.Load;
using IommuFd.HwSim;
using IommuFd.HwSim.Devices;
using IommuFd.HwSim.Units;
using Xunit;
using static HwSim.Tests.Kernel.Load.SeamCalls;

namespace HwSim.Tests.Kernel;

/// <summary>
/// Two devices behind a bridge to conventional PCI and an SMMUv3: one stream id, which is the first one's. What user space sees of it is in
/// tests/Conformance.
/// </summary>
public sealed unsafe class StreamTests
{
    [Fact]
    public void The_second_s_DMA_is_translated_as_the_first_s()
    {
        using var host = new SimulatedHost(Topology.ByName("arm-smmuv3"));
        var c = new SeamCalls(host);
        c.BindToVfio(PairA);
        int device = c.OpenDevice(PairA), iommufd = c.OpenIommu();
        c.Bind(device, iommufd);
        uint ioas = c.IoasAlloc(iommufd);
        Ok(c.Attach(device, ioas));
        nint page = c.Pages(1);
        *(ulong*)page = 0xfeed;
        ulong iova = 0x10_0000;
        Ok(c.Map(iommufd, ioas, page, 4096, ref iova));

        PciDevice second = host.Device(PairB)!;
        ulong word;
        Assert.Null(host.IommuDevice(PairB)!.Ops);
        Assert.Equal(DmaStatus.Success, second.Unit!.Read(second.RequesterId, DmaRequest.NoPasid, iova, &word, 8));
        Assert.Equal(0xfeedUL, word);
    }

    [Fact]
    public void Every_other_IOMMU_takes_both()
    {
        foreach (string topology in (string[])["intel", "intel-scalable", "amd", "riscv"])
        {
            using var host = new SimulatedHost(Topology.ByName(topology));
            Assert.Same(host.IommuDevice(PairA)!.Group, host.IommuDevice(PairB)!.Group);
            Assert.NotNull(host.IommuDevice(PairB)!.Group);
        }
    }
}
