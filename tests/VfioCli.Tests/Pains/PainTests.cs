using IommuFd;
using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Sysfs;
using Moq;
using VfioCli.Diagnosis;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

/// <summary>
/// What users of other tools suffer from: a broken host in, the right sentence out. The number is that of the complaint; each of the 25 has its test
/// here.
/// </summary>
public partial class PainTests
{
    private const string Nvme = "0000:00:05.0";

    [Fact]
    public void Pain_01_Group_is_not_viable_names_the_member_its_driver_and_the_command()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Driver("snd_hda_intel", "10de:0fbc");
        machine.Function("0000:02:03.0", "10de:0fbc", "040300", group: 5, driver: "snd_hda_intel");
        Vfio run = Vfio.Run(machine, "explain", "0000:02:01.0").Exits(ExitCode.No);
        Assert.StartsWith("0000:02:01.0 can be attached after `vfio bind --group 0000:02:01.0`.\n", run.Out, StringComparison.Ordinal);
        Assert.Contains("FAIL  group member 0000:02:03.0: Audio, blocks: snd_hda_intel uses the host's DMA\n", run.Out, StringComparison.Ordinal);
        Vfio.Run(machine, "bind", "--group", "0000:02:01.0").Exits(ExitCode.Ok);
        Vfio.Run(machine, "groups", "5").Says("""
            GROUP  ADDRESS       CLASS         DRIVER    VERDICT
            5      0000:00:07.0  PCI bridge    -         fine: no driver, no claim on DMA
            5      0000:02:01.0  Unclassified  vfio-pci  fine: on a VFIO driver
            5      0000:02:02.0  Unclassified  vfio-pci  fine: on a VFIO driver
            5      0000:02:03.0  Audio         vfio-pci  fine: on a VFIO driver

            """);
    }

    [Fact]
    public void Pain_02_A_bridge_on_pcieport_does_not_block_its_group()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Function("0000:03:00.0", "8086:1533", "020000", group: 3);
        Vfio run = Vfio.Run(machine, "explain", "0000:03:00.0").Exits(ExitCode.Ok);
        Assert.Contains("PASS  group member 0000:00:06.0: PCI bridge, fine: pcieport does no DMA of its own\n", run.Out, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("intel_iommu=off quiet", "DMAR", "", "the kernel command line says intel_iommu=off. ", "Remove intel_iommu=off and reboot.")]
    [InlineData("quiet", "DMAR", "", "the firmware announces VT-d, but the kernel does not use it. ",
        "Put intel_iommu=on on the kernel command line and reboot (CONFIG_INTEL_IOMMU is needed).")]
    [InlineData("quiet", "IVRS", "", "the firmware announces AMD-Vi, but the kernel does not use it. ",
        "Remove amd_iommu= and iommu= from the kernel command line; the kernel needs CONFIG_AMD_IOMMU.")]
    [InlineData("quiet", "FACP", "vendor_id\t: AuthenticAMD", "the firmware announces no IOMMU (no DMAR, IVRS, IORT, VIOT or RIMT table): it is "
        + "switched off there, or the machine has none. ", "Switch AMD-Vi (also called IOMMU or SVM) on in the firmware setup.")]
    [InlineData("quiet", "FACP", "flags\t: fpu hypervisor", "this is a virtual machine, and it was given no IOMMU. ",
        "Its owner must add one (QEMU: -device intel-iommu,intremap=on). Unsafe alternative: `echo Y > "
        + "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode`.")]
    public void Pain_03_No_IOMMU_says_which_of_the_reasons_it_is(string line, string table, string cpu, string cause, string remedy)
    {
        TestMachine machine = WithoutIommu(line, table, cpu);
        Vfio.Run(machine, "groups").Exits(ExitCode.Unsupported).Complains($"test machine has no IOMMU groups: {cause}{remedy}");
        Vfio.Run(machine, "bind", "0000:00:04.0").Exits(ExitCode.Unsupported)
            .Complains("0000:00:04.0 has no IOMMU group: no IOMMU stands in front of it. `vfio doctor` tells why, and what to switch on.");
    }

    [Fact]
    public void Pain_04_On_arm64_the_firmware_tables_are_named()
    {
        Vfio run = Vfio.Run(WithoutIommu("quiet", "IORT", ""), "explain", "0000:00:04.0").Exits(ExitCode.No);
        Assert.Contains("Switch the SMMU on in the firmware", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Pain_05_Missing_modules_are_named_with_what_loads_them()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/proc/sys/kernel/osrelease", "6.12.1\n");
        machine.Tree.File("/boot/config-6.12.1", "CONFIG_VFIO=m\n# CONFIG_IOMMUFD is not set\n");
        Vfio run = Vfio.Run(machine, "doctor").Exits(ExitCode.No);
        Assert.Contains("FAIL  VFIO core: module vfio is not loaded\n", run.Out, StringComparison.Ordinal);
        Assert.Contains("-> `modprobe vfio`; for every boot put the name into /etc/modules-load.d/vfio.conf.\n", run.Out, StringComparison.Ordinal);
        Assert.Contains("FAIL  iommufd: the kernel was built without it (CONFIG_IOMMUFD is not set)\n", run.Out, StringComparison.Ordinal);
        Assert.Contains("SKIP  device nodes: the VFIO core is missing\n", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Pain_06_A_VFIO_device_without_a_character_device_is_a_kernel_option()
    {
        TestMachine machine = TestMachine.Standard();
        Vfio.Run(machine, "bind", Nvme).Exits(ExitCode.Ok);
        machine.Tree.Remove("/sys/devices/pci0000:00/0000:00:05.0/vfio-dev/vfio0/dev");
        machine.Tree.Directory("/sys/devices/pci0000:00/0000:00:05.0/vfio-dev/vfio0");
        Vfio run = Vfio.Run(machine, "explain", Nvme).Exits(ExitCode.No);
        Assert.Contains("FAIL  node: vfio0 has no character device: the kernel lacks CONFIG_VFIO_DEVICE_CDEV\n", run.Out, StringComparison.Ordinal);
        Assert.Contains("or the legacy group /dev/vfio/2.", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Pain_07_Locked_memory_is_calculated_and_the_line_that_raises_it_printed()
    {
        Mock<IKernel> kernel = new();
        ulong soft = 8 << 20, hard = 8 << 20;
        _ = kernel.Setup(each => each.GetResourceLimit(8, out soft, out hard)).Returns(0);
        TestMachine machine = new() { Kernel = kernel.Object };
        machine.Tree.File("/etc/passwd", $"root:x:0:0::/root:/bin/sh\n{Environment.UserName}x:x:1000:1000::/:/bin/sh\n");
        Diagnosis.Account user = new("qemu", 1000, [1000]);
        using Session session = new(new Hosts.OpenedHost(IommuFd.IommuHost.Over(machine), false, new IommuFd.Sysfs.MemoryBindingStore()),
            new Output.Terminal(TextWriter.Null, TextWriter.Null, false, false));
        Diagnosis.Check check = new Diagnosis.Doctor(session, user, isCurrent: true, devices: 2, memory: 16UL << 30).Run()
            .Single(static each => each.Name == "locked memory");
        Assert.Equal(
            "8 MiB, but 16 GiB for each of 2 address spaces wanted; iommufd counts all processes of the user together, the legacy interface each "
            + "container", check.Finding);
        Assert.Equal(
            "/etc/security/limits.d/vfio.conf: `qemu - memlock 33554432`; systemd: LimitMEMLOCK=33554432K; now: prlimit --pid $$ "
            + "--memlock=34359738368.", check.Remedy);
    }

    [Fact]
    public void Pain_08_A_mapped_BAR_is_told_from_memory_and_the_way_to_map_it_is_named()
    {
        using SimulatedHost host = new(Topology.Parse("""
            { "name": "bar", "extends": "intel", "functions": [
              { "address": "0000:00:09.0", "id": "1234:1111", "class": "030000",
                "bars": [{ "index": 0, "kind": "prefetchable32", "size": "0x100000", "memory": true }] } ] }
            """));
        Vfio.On(host, new MemoryBindingStore(), "bind", "0000:00:09.0").Exits(ExitCode.Ok);
        using IommuHost iommu = IommuHost.Over(host);
        using IommuContext context = iommu.OpenContext();
        using IoAddressSpace space = context.CreateAddressSpace();
        int descriptor = host.Kernel.Open("/dev/vfio/devices/vfio0", Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        using VfioDeviceFile file = VfioDeviceFile.Adopt(iommu, descriptor, PciAddress.Parse("0000:00:09.0"));
        using BoundDevice device = file.Bind(context, cookie: 1);
        using Attachment attachment = device.Attach(space);
        RegionInfo bar = device.Calls.GetRegionInfo(0);
        nint address = host.Kernel.Mmap(0, (nuint)bar.Size, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, descriptor, (long)bar.Offset);
        Assert.True(address > 0, $"mmap answered {address}");
        using DmaBuffer buffer = DmaBuffer.Adopt(address, bar.Size, null);
        CommandFailure failure = FailureText.Describe(Assert.Throws<IommuFdException>(() => space.Map(buffer, DmaAccess.ReadWrite)));
        Assert.Equal(ExitCode.Refused, failure.Code);
        Assert.StartsWith(
            "IOMMU_IOAS_MAP: the memory is not there or cannot be pinned (a mapped BAR cannot) (EFAULT; ", failure.Cause, StringComparison.Ordinal);
        Assert.Equal("Map memory that is present; give a BAR as a dma-buf.", failure.Remedy);
        _ = host.Kernel.Munmap(address, (nuint)bar.Size);
    }

    [Fact]
    public void Pain_09_A_container_without_mappings_left_names_the_limit_and_the_interface_that_has_none()
    {
        using SimulatedHost host = new(Topology.Load("legacy-vfio"));
        Assert.Equal(0, host.Sysfs.WriteText("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "2\n"));
        Vfio.On(host, new MemoryBindingStore(), "attach", "0000:00:04.0", "--map", "4K,4K").Exits(ExitCode.Ok);
        Vfio run = Vfio.On(host, new MemoryBindingStore(), "attach", "0000:00:04.0", "--map", "4K,4K,4K").Exits(ExitCode.Refused);
        Assert.StartsWith("vfio: VFIO_IOMMU_MAP_DMA: the container has no mappings left (dma_entry_limit, 65535 by default) (ENOSPC; ", run.Error,
            StringComparison.Ordinal);
        Assert.EndsWith("). Map larger pieces, raise vfio_iommu_type1.dma_entry_limit, or use iommufd.\n", run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("4K@0x8000000000", "IOVA 0x8000000000-0x8000000fff is not inside a permitted range (0x0-0xfedfffff, 0xfef00000-0x7fffffffff). "
        + "Leave out @IOVA to let the kernel choose. Nothing was mapped.")]
    [InlineData("4K@0xfee00000", "IOVA 0xfee00000-0xfee00fff is not inside a permitted range (0x0-0xfedfffff, 0xfef00000-0x7fffffffff). Leave out "
        + "@IOVA to let the kernel choose. Nothing was mapped.")]
    public void Pain_10_An_IOVA_beyond_a_39_bit_unit_is_refused_with_the_range_that_it_leaves(string map, string sentence)
    {
        using SimulatedHost host = new(Topology.Parse("""{ "name": "narrow", "extends": "intel", "iommu": { "addressBits": 39 } }"""));
        Vfio.On(host, new MemoryBindingStore(), "attach", "0000:00:04.0", "--map", map).Exits(ExitCode.Usage).Complains(sentence);
        Vfio.On(host, new MemoryBindingStore(), "attach", "0000:00:04.0", "--map", "2M").Exits(ExitCode.Ok);
    }

    private static TestMachine WithoutIommu(string line, string table, string cpu)
    {
        TestMachine machine = new();
        machine.Function("0000:00:04.0", "1234:11e8", "00ff00");
        machine.Tree.File("/proc/cmdline", line + "\n");
        machine.Tree.File("/sys/firmware/acpi/tables/" + table, "");
        machine.Tree.File("/proc/cpuinfo", cpu + "\n");
        return machine;
    }
}
