using IommuFd.Native;
using Moq;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

/// <summary>What users of other tools suffer from: a broken host in, the right sentence out. One test a complaint, in the order in which they were collected.</summary>
public class PainTests
{
    private const string Nvme = "0000:00:05.0";

    [Fact]
    public void Group_is_not_viable_names_the_member_its_driver_and_the_command()
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
    public void A_bridge_on_pcieport_does_not_block_its_group()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Function("0000:03:00.0", "8086:1533", "020000", group: 3);
        Vfio run = Vfio.Run(machine, "explain", "0000:03:00.0").Exits(ExitCode.Ok);
        Assert.Contains("PASS  group member 0000:00:06.0: PCI bridge, fine: pcieport does no DMA of its own\n", run.Out, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("intel_iommu=off quiet", "DMAR", "", "the kernel command line says intel_iommu=off. ", "Remove intel_iommu=off and reboot.")]
    [InlineData("quiet", "DMAR", "", "the firmware announces VT-d, but the kernel does not use it. ", "Put intel_iommu=on on the kernel command line and reboot (CONFIG_INTEL_IOMMU is needed).")]
    [InlineData("quiet", "IVRS", "", "the firmware announces AMD-Vi, but the kernel does not use it. ", "Remove amd_iommu= and iommu= from the kernel command line; the kernel needs CONFIG_AMD_IOMMU.")]
    [InlineData("quiet", "FACP", "vendor_id\t: AuthenticAMD", "the firmware announces no IOMMU (no DMAR, IVRS, IORT, VIOT or RIMT table): it is switched off there, or the machine has none. ", "Switch AMD-Vi (also called IOMMU or SVM) on in the firmware setup.")]
    [InlineData("quiet", "FACP", "flags\t: fpu hypervisor", "this is a virtual machine, and it was given no IOMMU. ", "Its owner must add one (QEMU: -device intel-iommu,intremap=on). Unsafe alternative: `echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode`.")]
    public void No_IOMMU_says_which_of_the_reasons_it_is(string line, string table, string cpu, string cause, string remedy)
    {
        TestMachine machine = WithoutIommu(line, table, cpu);
        Vfio.Run(machine, "groups").Exits(ExitCode.Unsupported).Complains($"test machine has no IOMMU groups: {cause}{remedy}");
        Vfio.Run(machine, "bind", "0000:00:04.0").Exits(ExitCode.Unsupported)
            .Complains("0000:00:04.0 has no IOMMU group: no IOMMU stands in front of it. `vfio doctor` tells why, and what to switch on.");
    }

    [Fact]
    public void On_arm64_the_firmware_tables_are_named()
    {
        Vfio run = Vfio.Run(WithoutIommu("quiet", "IORT", ""), "explain", "0000:00:04.0").Exits(ExitCode.No);
        Assert.Contains("Switch the SMMU on in the firmware", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Missing_modules_are_named_with_what_loads_them()
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
    public void A_VFIO_device_without_a_character_device_is_a_kernel_option()
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
    public void Locked_memory_is_calculated_and_the_line_that_raises_it_printed()
    {
        Mock<IKernel> kernel = new();
        ulong soft = 8 << 20, hard = 8 << 20;
        _ = kernel.Setup(each => each.GetResourceLimit(8, out soft, out hard)).Returns(0);
        TestMachine machine = new() { Kernel = kernel.Object };
        machine.Tree.File("/etc/passwd", $"root:x:0:0::/root:/bin/sh\n{Environment.UserName}x:x:1000:1000::/:/bin/sh\n");
        Diagnosis.Account user = new("qemu", 1000, [1000]);
        using Session session = new(new Hosts.OpenedHost(IommuFd.IommuHost.Over(machine), false, new IommuFd.Sysfs.MemoryBindingStore()), new Output.Terminal(TextWriter.Null, TextWriter.Null, false, false));
        Diagnosis.Check check = new Diagnosis.Doctor(session, user, isCurrent: true, devices: 2, memory: 16UL << 30).Run().Single(static each => each.Name == "locked memory");
        Assert.Equal("8 MiB, but 16 GiB for each of 2 address spaces wanted; iommufd counts all processes of the user together, the legacy interface each container", check.Finding);
        Assert.Equal("/etc/security/limits.d/vfio.conf: `qemu - memlock 33554432`; systemd: LimitMEMLOCK=33554432K; now: prlimit --pid $$ --memlock=34359738368.", check.Remedy);
    }

    [Fact]
    public void A_region_that_the_firmware_insists_on_is_explained()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/sys/kernel/iommu_groups/2/reserved_regions", "0x000000007b800000 0x000000007fffffff direct\n0x00000000fee00000 0x00000000feefffff msi\n");
        Vfio run = Vfio.Run(machine, "explain", Nvme).Exits(ExitCode.No);
        Assert.Contains("FAIL  reserved regions: the firmware insists on 0x7b800000-0x7fffffff being mapped one to one (RMRR), and the kernel then refuses user space\n", run.Out, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("bind --dry-run 0000:00:05.0")]
    [InlineData("bind --dry-run --group 0000:02:01.0")]
    public void New_id_is_never_written(string line) => Assert.DoesNotContain("new_id", Vfio.Run(TestMachine.Standard(), line.Split(' ')).Out, StringComparison.Ordinal);

    [Fact]
    public void A_stale_override_is_shown_and_cleared_with_a_newline()
    {
        TestMachine machine = TestMachine.Standard();
        _ = machine.Tree.WriteText("/sys/bus/pci/devices/0000:00:04.0/driver_override", "vfio-pci");
        Assert.Contains("driver_override keeps every driver but vfio-pci away", Vfio.Run(machine, "explain", "0000:00:04.0").Out, StringComparison.Ordinal);
        Assert.Contains("echo > /sys/bus/pci/devices/0000:00:04.0/driver_override\n", Vfio.Run(machine, "unbind", "--dry-run", "0000:00:04.0").Out, StringComparison.Ordinal);
        Vfio.Run(machine, "unbind", "0000:00:04.0").Exits(ExitCode.Ok);
        Assert.Null(machine.OverrideOf("0000:00:04.0"));
    }

    [Fact]
    public void Openers_of_a_graphics_card_are_named_before_its_driver_is_asked_to_let_go()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Driver("nvidia", "10de:1b80");
        machine.Function("0000:04:00.0", "10de:1b80", "030000", group: 9, driver: "nvidia");
        machine.Tree.File("/dev/nvidia0", "");
        machine.Tree.File("/proc/4711/comm", "Xorg\n");
        machine.Tree.Link("/proc/4711/fd/12", "/dev/nvidia0");
        Vfio.Run(machine, "bind", "0000:04:00.0").Exits(ExitCode.Busy).Complains(
            "driver nvidia will not let go of 0000:04:00.0 while its nodes are open: Xorg (pid 4711) has /dev/nvidia0. End these programs first (once the driver waits, ending them does not help any more), or say --force. Nothing was changed.");
        Assert.Equal("nvidia", machine.DriverOf("0000:04:00.0"));
    }

    [Fact]
    public void The_boot_framebuffer_in_a_BAR_is_found()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Driver("nouveau", "10de:1b80");
        machine.Function("0000:04:00.0", "10de:1b80", "030000", group: 9, driver: "nouveau");
        machine.Tree.File("/sys/devices/pci0000:00/0000:04:00.0/resource", "0x00000000c0000000 0x00000000cfffffff 0x0000000000042208\n");
        machine.Tree.File("/proc/iomem", "c0000000-cfffffff : PCI Bus 0000:04\n  c0000000-cfffffff : 0000:04:00.0\n    c0000000-c07e8fff : BOOTFB\n");
        Vfio.Run(machine, "bind", "0000:04:00.0").Exits(ExitCode.Busy).Complains(
            "the host uses 0000:04:00.0: BAR 0 holds the framebuffer BOOTFB. Boot without a console on it (video=efifb:off, or make another card the first), or say --force to lose it. Nothing was changed.");
    }

    [Fact]
    public void It_is_found_without_a_driver_too()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Function("0000:04:00.0", "10de:1b80", "030000", group: 9);
        machine.Tree.File("/sys/devices/pci0000:00/0000:04:00.0/resource", "0x00000000c0000000 0x00000000cfffffff 0x0000000000042208\n");
        machine.Tree.File("/proc/iomem", "    c0000000-c07e8fff : simpledrm\n");
        Vfio.Run(machine, "bind", "0000:04:00.0").Exits(ExitCode.Busy).Complains(
            "the host uses 0000:04:00.0: BAR 0 holds the framebuffer simpledrm, so VFIO could not reserve the BAR. Boot without a console on it (video=efifb:off, or make another card the first), or say --force. Nothing was changed.");
    }

    [Fact]
    public void A_device_that_answers_all_ones_is_lost_and_a_reset_hits_its_neighbours()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.Bytes("/sys/devices/pci0000:00/0000:02:01.0/config", [.. Enumerable.Repeat((byte)0xff, 256)]);
        machine.Tree.File("/sys/devices/pci0000:00/0000:02:01.0/power_state", "D3cold\n");
        machine.Tree.File("/sys/devices/pci0000:00/0000:02:01.0/reset_method", "bus\n");
        Vfio run = Vfio.Run(machine, "explain", "0000:02:01.0").Exits(ExitCode.No);
        Assert.Contains("FAIL  alive: its configuration space reads as all ones: it is off or lost\n", run.Out, StringComparison.Ordinal);
        Assert.Contains("only a reset of the host helps", run.Out, StringComparison.Ordinal);
        Assert.Contains("a bus reset also hits 0000:02:02.0", Vfio.Run(machine, "show", "0000:02:01.0").Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Who_holds_a_device_is_named_and_how()
    {
        TestMachine machine = TestMachine.Standard();
        Vfio.Run(machine, "bind", Nvme).Exits(ExitCode.Ok);
        machine.Tree.File("/dev/iommu", "");
        machine.Tree.File("/proc/17/comm", "qemu-system-x86\n");
        machine.Tree.Link("/proc/17/fd/9", "/dev/vfio/2");
        Vfio run = Vfio.Run(machine, "explain", Nvme).Exits(ExitCode.No);
        Assert.Contains("FAIL  holders: qemu-system-x86 (pid 17) has the legacy group /dev/vfio/2 open, which excludes the character devices\n", run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Unbind_does_not_wait_for_a_program_unasked()
    {
        TestMachine machine = TestMachine.Standard();
        IommuFd.Sysfs.MemoryBindingStore store = new();
        Vfio.Run(machine, store, "bind", Nvme).Exits(ExitCode.Ok);
        machine.Tree.File("/proc/17/comm", "qemu-system-x86\n");
        machine.Tree.Link("/proc/17/fd/9", "/dev/vfio/devices/vfio0");
        const string sentence = "qemu-system-x86 (pid 17) has 0000:00:05.0 open. End that program first, or say --force: the kernel then asks it to give the device back, and waits. Nothing was changed.";
        Vfio.Run(machine, store, "unbind", Nvme).Exits(ExitCode.Busy).Complains(sentence);
        Vfio.Run(machine, store, "restore").Exits(ExitCode.Incomplete).Complains(sentence);
        Vfio.Run(machine, store, "unbind", "--force", Nvme).Exits(ExitCode.Ok).Says("0000:00:05.0: vfio-pci -> nvme\n");
    }

    [Fact]
    public void A_VF_whose_PF_is_in_user_hands_needs_a_token()
    {
        TestMachine machine = TestMachine.Standard();
        Vfio.Run(machine, "bind", "0000:01:00.0").Exits(ExitCode.Ok);
        machine.Function("0000:01:10.0", "8086:10ca", "020000", group: 10);
        machine.Tree.Link("/sys/devices/pci0000:00/0000:01:10.0/physfn", "../0000:01:00.0");
        Assert.Contains("WARN  VF token: its physical function 0000:01:00.0 is in user hands, so binding needs the token", Vfio.Run(machine, "explain", "0000:01:10.0").Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Permissions_are_checked_for_a_user_and_the_udev_rule_is_printed()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/dev/iommu", "");
        machine.Tree.File("/dev/vfio/vfio", "");
        machine.Tree.Statuses["/dev/iommu"] = new PathStatus(PathKind.CharacterDevice, 0x1b0, 0, 107, 0);
        machine.Tree.File("/etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nkvmuser:x:1001:1001::/:/bin/sh\n");
        machine.Tree.File("/etc/group", "vfio:x:107:kvmuser\n");
        Vfio run = Vfio.Run(machine, "doctor", "--user", "alice").Exits(ExitCode.No);
        Assert.Contains("FAIL  /dev/iommu for alice: its mode does not allow it\n      /dev/iommu: root:vfio mode 0660\n", run.Out, StringComparison.Ordinal);
        Assert.Contains("KERNEL==\"iommu\", GROUP=\"vfio\", MODE=\"0660\"", run.Out, StringComparison.Ordinal);
        Assert.Contains("PASS  /dev/iommu for kvmuser: root:vfio mode 0660\n", Vfio.Run(machine, "doctor", "--user", "kvmuser").Out, StringComparison.Ordinal);
        Vfio.Run(machine, "doctor", "--user", "bob").Exits(ExitCode.NotFound).Complains("there is no user bob on test machine. Give a name or a number from /etc/passwd.");
    }

    [Fact]
    public void Noiommu_mode_is_loudly_unsafe()
    {
        TestMachine machine = WithoutIommu("quiet", "FACP", "");
        machine.Tree.File("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
        Assert.Contains("WARN  IOMMU: none, and VFIO is told to do without: the device can overwrite all memory of this machine, and the kernel is tainted\n", Vfio.Run(machine, "explain", "0000:00:04.0").Out, StringComparison.Ordinal);
        Vfio.Run(machine, "bind", "0000:00:04.0").Exits(ExitCode.Ok);
    }

    [Theory]
    [InlineData("mount", "the host uses 0000:00:05.0: nvme0n1p1 is mounted on /. Unmount / first, or say --force to lose it. Nothing was changed.")]
    [InlineData("swap", "the host uses 0000:00:05.0: nvme0n1p1 is swap space. `swapoff /dev/nvme0n1p1` first, or say --force to lose it. Nothing was changed.")]
    [InlineData("holder", "the host uses 0000:00:05.0: nvme0n1p1 is part of dm-0, dm-0 is mounted on /home. Take dm-0 apart first, or say --force to lose it. Nothing was changed.")]
    public void A_disk_that_the_host_uses_is_refused(string how, string sentence)
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.Directory("/sys/devices/pci0000:00/0000:00:05.0/nvme/nvme0/nvme0n1");
        machine.Tree.File("/sys/class/block/nvme0n1/dev", "259:0\n");
        machine.Tree.Directory("/sys/class/block/nvme0n1/nvme0n1p1");
        machine.Tree.File("/sys/class/block/nvme0n1p1/dev", "259:1\n");
        if (how == "mount")
        {
            machine.Tree.File("/proc/self/mountinfo", "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n");
        }
        else if (how == "swap")
        {
            machine.Tree.File("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/nvme0n1p1 partition 1000 0 -2\n");
        }
        else
        {
            machine.Tree.Directory("/sys/class/block/nvme0n1p1/holders/dm-0");
            machine.Tree.File("/sys/class/block/dm-0/dm/name", "vg-home\n");
            machine.Tree.File("/proc/self/mountinfo", "30 1 0:44 / /home rw - btrfs /dev/mapper/vg-home rw\n");
        }

        Vfio.Run(machine, "bind", Nvme).Exits(ExitCode.Busy).Complains(sentence);
        Assert.Equal("nvme", machine.DriverOf(Nvme));
        Vfio.Run(machine, "bind", "--force", Nvme).Exits(ExitCode.Ok);
    }

    [Fact]
    public void The_interface_that_carries_the_login_is_refused()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/sys/devices/pci0000:00/0000:01:00.0/net/eth0/flags", "0x1003\n");
        machine.Tree.File("/proc/net/route", "Iface\tDestination\tGateway\neth0\t00000000\t0102A8C0\n");
        Vfio.Run(machine, "bind", "0000:01:00.0").Exits(ExitCode.Busy).Complains(
            "the host uses 0000:01:00.0: eth0 carries the route to everywhere (the default route). Move the address of eth0 to another interface first (your login may go through it), or say --force to lose it. Nothing was changed.");
    }

    [Fact]
    public void A_bridge_without_ACS_is_pointed_at()
    {
        TestMachine machine = TestMachine.Standard();
        byte[] config = new byte[4096];
        config[0x06] = 0x10; // capabilities list
        config[0x0e] = 1;
        config[0x34] = 0x40;
        config[0x40] = 0x10; // PCI Express
        config[0x42] = 4 << 4; // root port
        machine.Tree.Bytes("/sys/devices/pci0000:00/0000:00:06.0/config", config);
        Assert.Contains("0000:00:06.0 PCI bridge, group 3, pcieport; no ACS: functions behind it can reach each other past the IOMMU\n", Vfio.Run(machine, "topology").Out, StringComparison.Ordinal);
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
