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
    public void Pain_11_A_region_that_the_firmware_insists_on_is_explained()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File(
            "/sys/kernel/iommu_groups/2/reserved_regions",
            "0x000000007b800000 0x000000007fffffff direct\n0x00000000fee00000 0x00000000feefffff msi\n");
        Vfio run = Vfio.Run(machine, "explain", Nvme).Exits(ExitCode.No);
        Assert.Contains(
            "FAIL  reserved regions: the firmware insists on 0x7b800000-0x7fffffff being mapped one to one (RMRR), and the kernel then refuses "
            + "user space\n", run.Out, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("bind --dry-run 0000:00:05.0")]
    [InlineData("bind --dry-run --group 0000:02:01.0")]
    public void Pain_12_New_id_is_never_written(string line) =>
        Assert.DoesNotContain("new_id", Vfio.Run(TestMachine.Standard(), line.Split(' ')).Out, StringComparison.Ordinal);

    [Fact]
    public void Pain_13_A_stale_override_is_shown_and_cleared_with_a_newline()
    {
        TestMachine machine = TestMachine.Standard();
        _ = machine.Tree.WriteText("/sys/bus/pci/devices/0000:00:04.0/driver_override", "vfio-pci");
        Assert.Contains(
            "driver_override keeps every driver but vfio-pci away", Vfio.Run(machine, "explain", "0000:00:04.0").Out, StringComparison.Ordinal);
        Assert.Contains("echo > /sys/bus/pci/devices/0000:00:04.0/driver_override\n", Vfio.Run(machine, "unbind", "--dry-run", "0000:00:04.0").Out,
            StringComparison.Ordinal);
        Vfio.Run(machine, "unbind", "0000:00:04.0").Exits(ExitCode.Ok);
        Assert.Null(machine.OverrideOf("0000:00:04.0"));
    }

    [Fact]
    public void Pain_14_A_bind_that_fails_half_way_leaves_no_function_without_its_driver()
    {
        TestMachine machine = TestMachine.Standard();
        MemoryBindingStore store = new();
        machine.OnProbe = static (driver, address) => driver == "vfio-pci" && address == Nvme ? -Errno.EIO : 0;
        Vfio.Run(machine, store, "bind", "0000:01:00.0", Nvme).Exits(ExitCode.Refused).Complains(
            "0000:00:05.0: writing '0000:00:05.0' to /sys/bus/pci/drivers/vfio-pci/bind failed with EIO (Input/output error). `dmesg` may say "
                + "more. What had been changed was put back.");
        Assert.Equal(("igb", "nvme"), (machine.DriverOf("0000:01:00.0"), machine.DriverOf(Nvme)));
        Assert.Equal((null, null), (machine.OverrideOf("0000:01:00.0"), machine.OverrideOf(Nvme)));
        Vfio.Run(machine, store, "restore").Exits(ExitCode.Ok).Says("nothing to restore\n");
    }

    [Fact]
    public void Pain_15_Openers_of_a_graphics_card_are_named_before_its_driver_is_asked_to_let_go()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Driver("nvidia", "10de:1b80");
        machine.Function("0000:04:00.0", "10de:1b80", "030000", group: 9, driver: "nvidia");
        machine.Tree.File("/dev/nvidia0", "");
        machine.Tree.File("/proc/4711/comm", "Xorg\n");
        machine.Tree.Link("/proc/4711/fd/12", "/dev/nvidia0");
        Vfio.Run(machine, "bind", "0000:04:00.0").Exits(ExitCode.Busy).Complains(
            "driver nvidia will not let go of 0000:04:00.0 while its nodes are open: Xorg (pid 4711) has /dev/nvidia0. End these programs first "
                + "(once the driver waits, ending them does not help any more), or say --force. Nothing was changed.");
        Assert.Equal("nvidia", machine.DriverOf("0000:04:00.0"));
    }

    [Fact]
    public void Pain_15_A_driver_that_never_returns_from_unbind_does_not_hang_the_command()
    {
        using ManualResetEventSlim never = new();
        TestMachine machine = TestMachine.Standard();
        machine.OnRemove = (driver, _) => never.Wait(driver == "nvme" ? TimeSpan.FromSeconds(30) : TimeSpan.Zero);
        Vfio run = Vfio.Run(machine, "bind", "--timeout", "1", Nvme).Exits(ExitCode.Incomplete);
        never.Set();
        Assert.StartsWith(
            $"vfio: {Nvme}: its driver has not let go within 1 s. The write goes on waiting in the kernel for whoever uses the device; ending the "
            + "users now may not wake it, and then only a reboot helps.", run.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Pain_16_Of_two_identical_cards_the_one_that_was_meant_is_bound_at_boot()
    {
        string root = Directory.CreateTempSubdirectory("vfio-root").FullName;
        try
        {
            Vfio.Run(TwoCards(first: 1, second: 2), "persist", "0000:04:00.0", "--root", root).Exits(ExitCode.Ok);
            string rule = File.ReadAllText(Path.Combine(root, "etc/udev/rules.d/10-vfio.rules"));
            Assert.Contains("KERNEL==\"0000:04:00.0\"", rule, StringComparison.Ordinal);
            Assert.DoesNotContain("0000:05:00.0", rule, StringComparison.Ordinal);

            // After the next boot: one is bound, its twin is not.
            TestMachine booted = TwoCards(first: 1, second: 2);
            Vfio.Run(booted, "persist", "--apply", "--root", root).Exits(ExitCode.Ok).Says("0000:04:00.0: on vfio-pci, as wanted\n");
            Assert.Equal(("vfio-pci", "nvidia"), (booted.DriverOf("0000:04:00.0"), booted.DriverOf("0000:05:00.0")));

            // Somebody swapped the cards: the serial number tells.
            TestMachine swapped = TwoCards(first: 2, second: 1);
            Vfio.Run(swapped, "persist", "--apply", "--root", root).Exits(ExitCode.No)
                .Says("0000:04:00.0: the device 10de:1b80 is now at 0000:05:00.0; `vfio forget 0000:04:00.0` and `vfio persist 0000:05:00.0`\n");
            Assert.Equal(("nvidia", "nvidia"), (swapped.DriverOf("0000:04:00.0"), swapped.DriverOf("0000:05:00.0")));
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }

        static TestMachine TwoCards(byte first, byte second)
        {
            TestMachine machine = TestMachine.Standard();
            machine.Driver("nvidia", "10de:1b80");
            foreach ((string address, byte serial, int group) in new[] { ("0000:04:00.0", first, 9), ("0000:05:00.0", second, 10) })
            {
                machine.Function(address, "10de:1b80", "030000", group, "nvidia");
                byte[] config = new byte[4096];
                config[0x06] = 0x10; // capabilities list
                config[0x34] = 0x40;
                config[0x40] = 0x10; // PCI Express
                config[0x100] = 0x03; // Device Serial Number, version 1
                config[0x102] = 0x01;
                config[0x104] = serial;
                machine.Tree.Bytes($"/sys/devices/pci0000:00/{address}/config", config);
            }

            return machine;
        }
    }

    [Fact]
    public void Pain_17_The_boot_framebuffer_in_a_BAR_is_found()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Driver("nouveau", "10de:1b80");
        machine.Function("0000:04:00.0", "10de:1b80", "030000", group: 9, driver: "nouveau");
        machine.Tree.File("/sys/devices/pci0000:00/0000:04:00.0/resource", "0x00000000c0000000 0x00000000cfffffff 0x0000000000042208\n");
        machine.Tree.File("/proc/iomem", "c0000000-cfffffff : PCI Bus 0000:04\n  c0000000-cfffffff : 0000:04:00.0\n    c0000000-c07e8fff : BOOTFB\n");
        Vfio.Run(machine, "bind", "0000:04:00.0").Exits(ExitCode.Busy).Complains(
            "the host uses 0000:04:00.0: BAR 0 holds the framebuffer BOOTFB. Boot without a console on it (video=efifb:off, or make another card "
                + "the first), or say --force to lose it. Nothing was changed.");
    }

    [Fact]
    public void Pain_17_It_is_found_without_a_driver_too()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Function("0000:04:00.0", "10de:1b80", "030000", group: 9);
        machine.Tree.File("/sys/devices/pci0000:00/0000:04:00.0/resource", "0x00000000c0000000 0x00000000cfffffff 0x0000000000042208\n");
        machine.Tree.File("/proc/iomem", "    c0000000-c07e8fff : simpledrm\n");
        Vfio.Run(machine, "bind", "0000:04:00.0").Exits(ExitCode.Busy).Complains(
            "the host uses 0000:04:00.0: BAR 0 holds the framebuffer simpledrm, so VFIO could not reserve the BAR. Boot without a console on it "
                + "(video=efifb:off, or make another card the first), or say --force. Nothing was changed.");
    }

    [Fact]
    public void Pain_18_A_device_that_answers_all_ones_is_lost_and_a_reset_hits_its_neighbours()
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
}
