using IommuFd;
using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Diagnosis;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

public partial class PainTests
{
    [Fact]
    public void Pain_19_Who_holds_a_device_is_named_and_how()
    {
        TestMachine machine = TestMachine.Standard();
        Vfio.Run(machine, "bind", Nvme).Exits(ExitCode.Ok);
        machine.Tree.File("/dev/iommu", "");
        machine.Tree.File("/proc/17/comm", "qemu-system-x86\n");
        machine.Tree.Link("/proc/17/fd/9", "/dev/vfio/2");
        Vfio run = Vfio.Run(machine, "explain", Nvme).Exits(ExitCode.No);
        Assert.Contains("FAIL  holders: qemu-system-x86 (pid 17) has the legacy group /dev/vfio/2 open, which excludes the character devices\n",
            run.Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Pain_19_Unbind_does_not_wait_for_a_program_unasked()
    {
        TestMachine machine = TestMachine.Standard();
        IommuFd.Sysfs.MemoryBindingStore store = new();
        Vfio.Run(machine, store, "bind", Nvme).Exits(ExitCode.Ok);
        machine.Tree.File("/proc/17/comm", "qemu-system-x86\n");
        machine.Tree.Link("/proc/17/fd/9", "/dev/vfio/devices/vfio0");
        const string sentence =
            "qemu-system-x86 (pid 17) has 0000:00:05.0 open. End that program first, or say --force: the kernel then asks it to give the device "
            + "back, and waits. Nothing was changed.";
        Vfio.Run(machine, store, "unbind", Nvme).Exits(ExitCode.Busy).Complains(sentence);
        Vfio.Run(machine, store, "restore").Exits(ExitCode.Incomplete).Complains(sentence);
        Vfio.Run(machine, store, "unbind", "--force", Nvme).Exits(ExitCode.Ok).Says("0000:00:05.0: vfio-pci -> nvme\n");
    }

    [Fact]
    public void Pain_20_A_VF_whose_PF_is_in_user_hands_needs_a_token()
    {
        TestMachine machine = TestMachine.Standard();
        Vfio.Run(machine, "bind", "0000:01:00.0").Exits(ExitCode.Ok);
        machine.Function("0000:01:10.0", "8086:10ca", "020000", group: 10);
        machine.Tree.Link("/sys/devices/pci0000:00/0000:01:10.0/physfn", "../0000:01:00.0");
        Assert.Contains("WARN  VF token: its physical function 0000:01:00.0 is in user hands, so binding needs the token",
            Vfio.Run(machine, "explain", "0000:01:10.0").Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Pain_20_A_wrong_token_says_that_it_is_the_token()
    {
        using SimulatedHost host = new(Topology.Load("intel"));
        MemoryBindingStore store = new();
        Assert.Equal(0, host.Sysfs.WriteText("/sys/module/vfio_pci/parameters/enable_sriov", "Y"));
        Vfio.On(host, store, "bind", "0000:01:00.0").Exits(ExitCode.Ok);
        Vfio.On(host, store, "vf", "create", "0000:01:00.0", "1").Exits(ExitCode.Ok);
        Vfio.On(host, store, "attach", "0000:01:10.0", "--token", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001").Exits(ExitCode.Permission).Complains(
            "VFIO_DEVICE_BIND_IOMMUFD: the VF token is missing or wrong (EACCES; device=0000:01:10.0). Pass the token that the owner of the "
                + "physical function set.");
    }

    [Fact]
    public void Pain_20_VF_creation_without_room_names_what_is_scarce()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/sys/devices/pci0000:00/0000:01:00.0/sriov_totalvfs", "7\n");
        machine.Tree.File("/sys/devices/pci0000:00/0000:01:00.0/sriov_numvfs", "0\n");
        machine.Tree.Effects["/sys/devices/pci0000:00/0000:01:00.0/sriov_numvfs"] = static _ => -Errno.ENOSPC;
        Vfio.Run(machine, "vf", "create", "0000:01:00.0", "7").Exits(ExitCode.Refused).Complains(
            "0000:01:00.0: there is no room: bus numbers, address space or MSI-X vectors. Ask for fewer VFs; firmware settings (SR-IOV, ARI, above "
                + "4G decoding, MSI-X budget) or pci=realloc,assign-busses may make room.");
    }

    [Fact]
    public void Pain_21_Permissions_are_checked_for_a_user_and_the_udev_rule_is_printed()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/dev/iommu", "");
        machine.Tree.File("/dev/vfio/vfio", "");
        machine.Tree.Statuses["/dev/iommu"] = new PathStatus(PathKind.CharacterDevice, 0x1b0, 0, 107, 0);
        machine.Tree.File("/etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nkvmuser:x:1001:1001::/:/bin/sh\n");
        machine.Tree.File("/etc/group", "vfio:x:107:kvmuser\n");
        Vfio run = Vfio.Run(machine, "doctor", "--user", "alice").Exits(ExitCode.No);
        Assert.Contains(
            "FAIL  /dev/iommu for alice: its mode does not allow it\n      /dev/iommu: root:vfio mode 0660\n", run.Out, StringComparison.Ordinal);
        Assert.Contains("KERNEL==\"iommu\", GROUP=\"vfio\", MODE=\"0660\"", run.Out, StringComparison.Ordinal);
        Assert.Contains(
            "PASS  /dev/iommu for kvmuser: root:vfio mode 0660\n", Vfio.Run(machine, "doctor", "--user", "kvmuser").Out, StringComparison.Ordinal);
        Vfio.Run(machine, "doctor", "--user", "bob").Exits(ExitCode.NotFound)
            .Complains("there is no user bob on test machine. Give a name or a number from /etc/passwd.");
    }

    [Fact]
    public void Pain_22_Noiommu_mode_is_loudly_unsafe()
    {
        TestMachine machine = WithoutIommu("quiet", "FACP", "");
        machine.Tree.File("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
        Assert.Contains(
            "WARN  IOMMU: none, and VFIO is told to do without: the device can overwrite all memory of this machine, and the kernel is tainted\n",
            Vfio.Run(machine, "explain", "0000:00:04.0").Out, StringComparison.Ordinal);
        Vfio.Run(machine, "bind", "0000:00:04.0").Exits(ExitCode.Ok);
    }

    [Theory]
    [InlineData("mount", "the host uses 0000:00:05.0: nvme0n1p1 is mounted on /. Unmount / first, or say --force to lose it. Nothing was changed.")]
    [InlineData("swap", "the host uses 0000:00:05.0: nvme0n1p1 is swap space. `swapoff /dev/nvme0n1p1` first, or say --force to lose it. Nothing "
        + "was changed.")]
    [InlineData("holder", "the host uses 0000:00:05.0: nvme0n1p1 is part of dm-0, dm-0 is mounted on /home. Take dm-0 apart first, or say --force "
        + "to lose it. Nothing was changed.")]
    public void Pain_23_A_disk_that_the_host_uses_is_refused(string how, string sentence)
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
    public void Pain_23_The_interface_that_carries_the_login_is_refused()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/sys/devices/pci0000:00/0000:01:00.0/net/eth0/flags", "0x1003\n");
        machine.Tree.File("/proc/net/route", "Iface\tDestination\tGateway\neth0\t00000000\t0102A8C0\n");
        Vfio.Run(machine, "bind", "0000:01:00.0").Exits(ExitCode.Busy).Complains(
            "the host uses 0000:01:00.0: eth0 carries the route to everywhere (the default route). Move the address of eth0 to another interface "
                + "first (your login may go through it), or say --force to lose it. Nothing was changed.");
    }

    [Fact]
    public void Pain_24_A_bridge_without_ACS_is_pointed_at()
    {
        TestMachine machine = TestMachine.Standard();
        byte[] config = new byte[4096];
        config[0x06] = 0x10; // capabilities list
        config[0x0e] = 1;
        config[0x34] = 0x40;
        config[0x40] = 0x10; // PCI Express
        config[0x42] = 4 << 4; // root port
        machine.Tree.Bytes("/sys/devices/pci0000:00/0000:00:06.0/config", config);
        Assert.Contains("0000:00:06.0 PCI bridge, group 3, pcieport; no ACS: functions behind it can reach each other past the IOMMU\n",
            Vfio.Run(machine, "topology").Out, StringComparison.Ordinal);
    }

    [Fact]
    public void Pain_24_A_fault_line_becomes_device_address_reason_and_advice()
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(
                file, "[ 1.2] DMAR: [DMA Write NO_PASID] Request device [00:05.0] fault addr 0x2800 [fault reason 0x05] PTE Write access is not "
                + "set\n");
            const string causes = "Nothing is mapped there: the mapping was removed while the device still used it, the driver gave the device a "
                + "process address instead of the IOVA, or the length ran over the end.";
            Vfio.Run(TestMachine.Standard(), "fault", file).Exits(ExitCode.Ok).Says($"""
                VT-d 0x05: 0000:00:05.0 write of IOVA 0x2800
                      the page table allows no write there: not mapped, or mapped without write access
                      144d:a808 NVMe storage, driver nvme, group 2
                      -> {causes}

                """);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void Pain_25_Without_hardware_the_same_program_runs_on_the_simulator()
    {
        using SimulatedHost host = new(Topology.Load("intel"));
        Vfio run = Vfio.On(host, new MemoryBindingStore(), "attach", "0000:00:04.0", "--selftest").Exits(ExitCode.Ok);
        Assert.Contains("self-test: passed, 6 of 6 checks\n", run.Out, StringComparison.Ordinal);
    }
}
