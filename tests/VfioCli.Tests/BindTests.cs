using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

public class BindTests
{
    [Fact]
    public void Bind_moves_a_function_to_vfio_pci_and_names_its_node() =>
        Vfio.Run(TestMachine.Standard(), "bind", "0000:00:05.0").Exits(ExitCode.Ok).Says("0000:00:05.0: nvme -> vfio-pci, /dev/vfio/devices/vfio0\n");

    [Fact]
    public void Dry_run_prints_the_exact_writes_and_does_none()
    {
        TestMachine machine = TestMachine.Standard();
        Vfio.Run(machine, "bind", "--dry-run", "00:05.0").Exits(ExitCode.Ok).Says("""
            echo vfio-pci > /sys/bus/pci/devices/0000:00:05.0/driver_override
            echo 0000:00:05.0 > /sys/bus/pci/devices/0000:00:05.0/driver/unbind
            echo 0000:00:05.0 > /sys/bus/pci/drivers/vfio-pci/bind

            """);
        Assert.Equal("nvme", machine.DriverOf("0000:00:05.0"));
        Assert.Null(machine.OverrideOf("0000:00:05.0"));
    }

    [Fact]
    public void Unbind_returns_a_function_to_the_driver_it_had_and_clears_the_override()
    {
        TestMachine machine = TestMachine.Standard();
        MemoryBindingStore store = new();
        Vfio.Run(machine, store, "bind", "0000:00:05.0", "0000:00:04.0").Exits(ExitCode.Ok);
        Vfio.Run(machine, store, "unbind", "0000:00:05.0", "0000:00:04.0").Exits(ExitCode.Ok)
            .Says("0000:00:05.0: vfio-pci -> nvme\n0000:00:04.0: vfio-pci -> no driver\n");
        Assert.Null(machine.OverrideOf("0000:00:05.0"));
        Assert.Empty(store.Remembered());
    }

    [Fact]
    public void Dry_run_names_the_owner_that_the_nodes_would_get()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n");
        machine.Tree.File("/etc/group", "vfio:x:107:\n");
        Assert.EndsWith("\nchown 1000:1000 /dev/vfio/devices/vfioN\n", Vfio.Run(machine, "bind", "--dry-run", "--owner", "alice", "0000:00:05.0")
            .Exits(ExitCode.Ok).Out, StringComparison.Ordinal);
        Assert.EndsWith("\nchown 1000:107 /dev/vfio/devices/vfioN\n", Vfio.Run(machine, "bind", "--dry-run", "--owner", "alice:vfio", "0000:00:05.0")
            .Exits(ExitCode.Ok).Out, StringComparison.Ordinal);
    }

    [Fact]
    public void An_override_that_udev_had_set_before_does_not_keep_the_host_driver_away()
    {
        TestMachine machine = TestMachine.Standard();
        MemoryBindingStore store = new();
        _ = machine.Tree.WriteText("/sys/bus/pci/devices/0000:00:05.0/driver_override", "vfio-pci");
        Vfio.Run(machine, store, "bind", "0000:00:05.0").Exits(ExitCode.Ok);
        Vfio.Run(machine, store, "restore").Exits(ExitCode.Ok).Says("0000:00:05.0: nvme\n");
        Assert.Null(machine.OverrideOf("0000:00:05.0"));

        // A rollback returns to exactly what was there.
        _ = machine.Tree.WriteText("/sys/bus/pci/devices/0000:00:05.0/driver_override", "vfio-pci");
        machine.OnProbe = static (driver, _) => driver == "vfio-pci" ? -Errno.EIO : 0;
        Vfio.Run(machine, store, "bind", "0000:00:05.0").Exits(ExitCode.Refused);
        Assert.Equal(("nvme", "vfio-pci"), (machine.DriverOf("0000:00:05.0"), machine.OverrideOf("0000:00:05.0")));
    }

    [Fact]
    public void Unbind_without_a_memory_lets_the_kernel_choose()
    {
        TestMachine machine = TestMachine.Standard();
        Vfio.Run(machine, "bind", "0000:00:05.0").Exits(ExitCode.Ok);
        Vfio.Run(machine, "unbind", "--dry-run", "0000:00:05.0").Says("""
            echo > /sys/bus/pci/devices/0000:00:05.0/driver_override
            echo 0000:00:05.0 > /sys/bus/pci/devices/0000:00:05.0/driver/unbind
            echo 0000:00:05.0 > /sys/bus/pci/drivers_probe

            """);
        Vfio.Run(machine, "unbind", "0000:00:05.0").Exits(ExitCode.Ok).Says("0000:00:05.0: vfio-pci -> nvme\n");
    }

    [Fact]
    public void A_function_already_on_the_driver_is_left_alone()
    {
        TestMachine machine = TestMachine.Standard();
        Vfio.Run(machine, "bind", "0000:00:04.0").Exits(ExitCode.Ok);
        Vfio.Run(machine, "bind", "0000:00:04.0").Exits(ExitCode.Ok).Says("0000:00:04.0: already on vfio-pci, /dev/vfio/devices/vfio0\n");
    }

    [Fact]
    public void Group_takes_every_endpoint_and_no_bridge()
    {
        TestMachine machine = TestMachine.Standard();
        Vfio.Run(machine, "bind", "--group", "0000:02:01.0").Exits(ExitCode.Ok);
        Assert.Equal("vfio-pci", machine.DriverOf("0000:02:02.0"));
        Assert.Null(machine.DriverOf("0000:00:07.0"));
    }

    [Fact]
    public void Any_refused_write_puts_everything_back()
    {
        // nvme and igb: three writes each.
        for (int failing = 1; failing <= 6; failing++)
        {
            TestMachine machine = TestMachine.Standard();
            machine.Front = new FaultySysfs(machine.Tree, failing, static () => -Errno.EIO);
            MemoryBindingStore store = new();
            Vfio run = Vfio.Run(machine, store, "bind", "0000:00:05.0", "0000:01:00.0").Exits(ExitCode.Refused);
            Assert.Contains("EIO", run.Error, StringComparison.Ordinal);
            Assert.EndsWith("What had been changed was put back.\n", run.Error, StringComparison.Ordinal);
            AssertAsBefore(machine, store);
        }
    }

    [Fact]
    public void What_a_killed_command_left_is_not_written_over_until_it_is_undone_or_forgotten()
    {
        TestMachine machine = TestMachine.Standard();
        MemoryBindingStore store = new();
        DriverBinder killed = new(new FaultySysfs(machine.Tree, 2, static () => throw new KilledException(), afterTheWrite: true), store);
        _ = Assert.Throws<KilledException>(() => killed.Apply(killed.PlanBind([PciAddress.Parse("0000:00:05.0")], "vfio-pci")));
        machine.OnProbe = static (driver, _) => driver == "nvme" ? -Errno.EIO : 0; // and its driver will not have it back
        Vfio run = Vfio.Run(machine, store, "bind", "0000:01:00.0").Exits(ExitCode.Busy);
        Assert.Contains("0000:01:00.0: a vfio command was killed while it changed drivers, and what it left could not be put back yet.", run.Error,
            StringComparison.Ordinal);
        Assert.Equal("igb", machine.DriverOf("0000:01:00.0"));
        Vfio.Run(machine, store, "restore", "--forget").Exits(ExitCode.Ok);
        Vfio.Run(machine, store, "bind", "0000:01:00.0").Exits(ExitCode.Ok);
    }

    [Fact]
    public void A_driver_that_never_lets_go_is_not_waited_for()
    {
        using ManualResetEventSlim never = new();
        TestMachine machine = TestMachine.Standard();
        machine.OnRemove = (driver, _) =>
        {
            if (driver == "nvme")
            {
                never.Wait(TimeSpan.FromSeconds(30));
            }
        };
        MemoryBindingStore store = new();
        Vfio.Run(machine, store, "bind", "--timeout", "1", "0000:01:00.0", "0000:00:05.0").Exits(ExitCode.Incomplete).Complains(
            "0000:00:05.0: its driver has not let go within 1 s. The write goes on waiting in the kernel for whoever uses the device; ending the "
                + "users now may not wake it, "
            + "and then only a reboot helps. Once it has ended, `vfio restore` gives the function back.");
        Assert.Equal("igb", machine.DriverOf("0000:01:00.0"));
        Assert.Empty(store.Unfinished());

        // The driver lets go at last.
        never.Set();
        Assert.True(SpinWait.SpinUntil(() => machine.DriverOf("0000:00:05.0") is null, TimeSpan.FromSeconds(10)));
        Vfio.Run(machine, store, "restore").Exits(ExitCode.Ok).Says("0000:00:05.0: nvme\n");
        Assert.Null(machine.OverrideOf("0000:00:05.0"));
    }

    [Fact]
    public void A_driver_that_refuses_the_function_is_named()
    {
        TestMachine machine = TestMachine.Standard();
        machine.OnProbe = static (driver, _) => driver == "vfio-pci" ? -Errno.EINVAL : 0;
        Vfio run = Vfio.Run(machine, "bind", "0000:00:05.0").Exits(ExitCode.Unsupported);
        Assert.StartsWith("vfio: 0000:00:05.0: vfio-pci refuses it (EINVAL)", run.Error, StringComparison.Ordinal);
        Assert.Equal("nvme", machine.DriverOf("0000:00:05.0"));
    }

    private static void AssertAsBefore(TestMachine machine, IBindingStore store)
    {
        Assert.Equal("nvme", machine.DriverOf("0000:00:05.0"));
        Assert.Equal("igb", machine.DriverOf("0000:01:00.0"));
        Assert.Null(machine.OverrideOf("0000:00:05.0"));
        Assert.Null(machine.OverrideOf("0000:01:00.0"));
        Assert.Empty(store.Unfinished());
    }
}
