using IommuFd.HwSim;
using IommuFd.Sysfs;
using VfioCli.Faults;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

/// <summary>Fault lines as kernels of several ages print them.</summary>
public class FaultTests
{
    [Theory]
    [InlineData("[ 1.2] DMAR: [DMA Write NO_PASID] Request device [00:04.0] fault addr 0x2800 [fault reason 0x05] PTE Write access is not set",
        "0000:00:04.0", "write", 0x2800UL, "0x05", "NotMapped")]
    [InlineData("DMAR: [DMA Read NO_PASID] Request device [0000:03:00.1] fault addr 0xffff0000 [fault reason 0x06] PTE Read access is not set",
        "0000:03:00.1", "read", 0xffff0000UL, "0x06", "NotMapped")]
    [InlineData("DMAR: [DMA Read] Request device [03:00.0] fault addr ffff0000 [fault reason 06] PTE Read access is not set", "0000:03:00.0", "read",
        0xffff0000UL, "0x06", "NotMapped")]
    [InlineData("DMAR:[DMA Write] Request device [02:00.0] PASID ffffffff fault addr 7fffe000 [fault reason 02] Present bit in context entry is "
        + "clear", "0000:02:00.0", "write", 0x7fffe000UL, "0x02", "DeviceNotConfigured")]
    [InlineData("DMAR: [DMA Read PASID 0x5] Request device [0000:6a:01.0] fault addr 0x1000 [fault reason 0x71] SM: Present bit in first-level "
        + "paging entry is clear", "0000:6a:01.0", "read", 0x1000UL, "0x71", "NotMapped")]
    [InlineData("nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0xfc000000 flags=0x0020]", "0000:01:00.0", "write",
        0xfc000000UL, "IO_PAGE_FAULT flags=0x0020", "NotMapped")]
    [InlineData("AMD-Vi: Event logged [IO_PAGE_FAULT device=0a:00.0 domain=0x0011 address=0x0000000000fd5000 flags=0x0050]", "0000:0a:00.0", "read",
        0xfd5000UL, "IO_PAGE_FAULT flags=0x0050", "NotPermitted")]
    [InlineData("riscv-iommu 10000000.iommu: Fault 13 devid: 0x20 iotval: 1000 iotval2: 0", "0000:00:04.0 (if a PCI function; device id 0x20)",
        "read", 0x1000UL, "13", "NotMapped")]
    public void A_line_becomes_device_access_address_and_reason(string line, string device, string access, ulong address, string code, string kind)
    {
        (FaultRecord fault, _) = Assert.Single(FaultLog.Parse([line]));
        Assert.Equal((device, access, address, code, kind), (fault.Device, fault.Access, fault.Address, fault.Code, fault.Class.ToString()));
        Assert.NotEmpty(fault.Advice);
    }

    [Fact]
    public void Interrupt_faults_have_no_address()
    {
        (FaultRecord fault, _) =
            Assert.Single(
            FaultLog.Parse(
            ["DMAR: [INTR-REMAP] Request device [0000:f0:1f.7] fault index 0x21 [fault reason 0x25] Blocked a compatibility format interrupt "
            + "request"]));
        Assert.Equal((FaultClass.Interrupt, null, "0000:f0:1f.7"), (fault.Class, fault.Address, fault.Device));
    }

    [Fact]
    public void SMMUv3_events_come_decoded_since_6_14()
    {
        (FaultRecord fault, _) = Assert.Single(FaultLog.Parse(
        [
            "arm-smmu-v3 arm-smmu-v3.0.auto: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0xfff00000 ipa: 0x0",
            "arm-smmu-v3 arm-smmu-v3.0.auto: unpriv data write s1 \"Input address caused fault\" stag: 0x0",
        ]));
        Assert.Equal(("0000:01:00.0", "write", 0xfff00000UL, FaultClass.NotMapped), (fault.Device, fault.Access, fault.Address, fault.Class));
    }

    [Fact]
    public void SMMUv3_events_were_raw_before()
    {
        (FaultRecord fault, _) = Assert.Single(FaultLog.Parse(
        [
            "arm-smmu-v3 2b400000.iommu: event 0x10 received:",
            "arm-smmu-v3 2b400000.iommu: \t0x0000010000000010",
            "arm-smmu-v3 2b400000.iommu: \t0x0000020800000000",
            "arm-smmu-v3 2b400000.iommu: \t0x0000000080001000",
            "arm-smmu-v3 2b400000.iommu: \t0x0000000000000000",
        ]));
        Assert.Equal(("stream 0x100", "read", 0x80001000UL, "F_TRANSLATION"), (fault.Device, fault.Access, fault.Address, fault.Code));
    }

    [Fact]
    public void Equal_faults_are_counted_and_other_lines_ignored()
    {
        const string line = "DMAR: [DMA Write NO_PASID] Request device [00:04.0] fault addr 0x2800 [fault reason 0x05] PTE Write access is not set";
        (_, int count) = Assert.Single(FaultLog.Parse(["usb 1-1: new device", line, "DMAR: DRHD: handling fault status reg 2", line]));
        Assert.Equal(2, count);
    }

    [Theory]
    [InlineData("intel", "VT-d 0x05: 0000:00:04.0 write of IOVA 0x")]
    [InlineData("intel-scalable", "VT-d 0x")]
    [InlineData("amd", "AMD-Vi IO_PAGE_FAULT flags=0x0020: 0000:00:04.0 write of IOVA 0x")]
    [InlineData("arm-smmuv3", "SMMUv3 F_TRANSLATION: 0000:00:04.0 write of IOVA 0x")]
    [InlineData("riscv", "RISC-V 15: 0000:00:04.0 (if a PCI function; device id 0x20) write of IOVA 0x")]
    public void The_simulated_kernel_logs_what_its_IOMMU_refuses(string topology, string line)
    {
        using SimulatedHost host = new(Topology.Load(topology));
        MemoryBindingStore store = new();
        Vfio.On(host, store, "fault", "--host", "sim").Exits(ExitCode.Ok).Says("no IOMMU faults found\n");
        Vfio attach = Vfio.On(host, store, "attach", "0000:00:04.0", "--selftest").Exits(ExitCode.Ok);
        Assert.Contains("\nfault log  " + line.Replace(" of IOVA", " of", StringComparison.Ordinal), attach.Out, StringComparison.Ordinal);
        Assert.StartsWith(line, Vfio.On(host, store, "fault", "--host", "sim").Exits(ExitCode.Ok).Out, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("intel", "PASS  interrupt remapping: on\n")]
    [InlineData("arm-smmuv3", "PASS  interrupt remapping: on\n")]
    [InlineData("riscv", "PASS  interrupt remapping: on\n")]
    [InlineData("broken-no-remapping", "FAIL  interrupt remapping: off: VFIO_DEVICE_BIND_IOMMUFD will answer EPERM\n      /proc/interrupts holds "
        + "no IR- chip\n")]
    public void Interrupt_remapping_is_seen_in_the_names_of_the_chips(string topology, string line)
    {
        using SimulatedHost host = new(Topology.Load(topology));
        Assert.Contains(line, Vfio.On(host, new MemoryBindingStore(), "doctor").Out, StringComparison.Ordinal);
        Assert.Contains(line, Vfio.On(host, new MemoryBindingStore(), "explain", "0000:00:04.0").Out, StringComparison.Ordinal);
    }

    [Fact]
    public void A_function_without_a_stream_of_its_own_is_told_whose_it_has()
    {
        using SimulatedHost host = new(Topology.Load("arm-smmuv3"));
        MemoryBindingStore store = new();
        Vfio.On(host, store, "bind", "0000:02:02.0").Exits(ExitCode.Unsupported)
            .Complains("0000:02:02.0 has no IOMMU group: no IOMMU stands in front of it. `vfio explain 0000:02:02.0` tells why.");
        Vfio explain = Vfio.On(host, store, "explain", "0000:02:02.0").Exits(ExitCode.No);
        Assert.Contains(
            "its requests carry the id of 0000:02:01.0, and the SMMUv3 driver takes one device for each id", explain.Out, StringComparison.Ordinal);
        Assert.Contains("/dev/kmsg=pci 0000:02:02.0: Aliasing StreamID 0x200 (from 0000:02:01.0) unsupported", explain.Out, StringComparison.Ordinal);
    }
}
