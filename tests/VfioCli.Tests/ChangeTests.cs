using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.CommandLine;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

/// <summary>vf, mdev, reset, restore, persist, forget, drift, run.</summary>
public class ChangeTests
{
    private const string Uuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

    [Fact]
    public void VFs_are_created_without_driver_bound_to_VFIO_and_deleted()
    {
        using SimulatedHost host = new(Topology.Load("intel"));
        MemoryBindingStore store = new();
        Vfio run = Vfio.On(host, store, "vf", "create", "0000:01:00.0", "2", "--no-driver").Exits(ExitCode.Ok);
        Assert.StartsWith("0000:01:00.0: 2 of ", run.Out, StringComparison.Ordinal);
        Vfio.On(host, store, "vf", "create", "0000:01:00.0", "3").Exits(ExitCode.Busy)
            .Complains("0000:01:00.0 has 2 VFs, and the number can only be changed from 0. `vfio vf delete 0000:01:00.0` first.");
        Vfio.On(host, store, "bind", "0000:01:10.0").Exits(ExitCode.Ok);
        Vfio.On(host, store, "bind", "0000:01:00.0").Exits(ExitCode.Busy)
            .Complains("0000:01:00.0 has 2 VFs, which vanish with driver igb. `vfio vf delete 0000:01:00.0` first, or say --force. Nothing was "
                + "changed.");
        Vfio.On(host, store, "vf", "delete", "0000:01:00.0").Exits(ExitCode.Ok).Says("0000:01:00.0: 0 of 8 VFs\n");
    }

    [Theory]
    [InlineData("vf create 0000:01:00.0 99", 2, "'99' is not a number of VFs for 0000:01:00.0. It can have 1 to 8.")]
    [InlineData("vf create 0000:00:04.0 1", 6, "0000:00:04.0 has no SR-IOV. `vfio show` lists the capabilities of a function.")]
    [InlineData("vf make 0000:00:04.0", 2, "`vfio vf make 0000:00:04.0` is not complete or not known. It is vf create BDF N, vf delete BDF, vf "
        + "show BDF, or vf token.")]
    [InlineData("mdev start x", 2, "'x' is not a UUID. Write it as 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001; `uuidgen` makes one.")]
    [InlineData("mdev start 83b8f4f2-509f-382f-3c1e-e6bfe0fa1009 --root /nonexistent", 3,
        "83b8f4f2-509f-382f-3c1e-e6bfe0fa1009 is not defined. Give its parent and type: `vfio mdev start UUID PARENT TYPE`; `vfio mdev types` "
        + "lists them.")]
    [InlineData("run 0000:00:04.0", 2, "run needs a program. Write it behind two dashes: vfio run 0000:00:04.0 -- PROGRAM ARGS.")]
    [InlineData("run 0000:00:04.0 -- ls --json", 6, "the descriptors of simulated machine 'intel' mean nothing to another process. `vfio sim run "
        + "-- PROGRAM` runs a program on the simulated machine.")]
    [InlineData("bind --owner nobody 0000:00:04.0", 6, "the nodes of simulated machine 'intel' have no other users. `vfio sim run -- vfio bind "
        + "--host kernel --owner USER BDF` shows it with programs; --dry-run prints the command.")]
    [InlineData("bind --dry-run --owner carol 0000:00:04.0", 3, "there is no user carol on simulated machine 'intel'. Write --owner USER or "
        + "USER:GROUP, by name or number.")]
    [InlineData("bind --dry-run --owner root:carols 0000:00:04.0", 3, "there is no group carols on simulated machine 'intel'. Write --owner USER "
        + "or USER:GROUP, by name or number.")]
    [InlineData("persist 0000:00:04.0", 2, "simulated machine 'intel' is not this machine, so nothing is written into its /etc. Give --root DIR.")]
    [InlineData("forget 0000:00:04.0 --root /nonexistent", 3, "0000:00:04.0 is not persistent. `vfio persist` shows what is. Nothing was changed.")]
    [InlineData("completion tcsh", 2, "there is no completion for 'tcsh'. There is one for bash, zsh and fish.")]
    [InlineData("attach 0000:00:04.0 --token x", 2, "the token 'x' is not a UUID. Write it as 00112233-4455-6677-8899-aabbccddeeff; `vfio vf "
        + "token` makes one.")]
    public void Bad_input(string line, int status, string sentence)
    {
        using SimulatedHost host = new(Topology.Load("intel"));
        Vfio.On(host, new MemoryBindingStore(), line.Split(' ')).Exits((ExitCode)status).Complains(sentence);
    }

    [Fact]
    public void A_mediated_device_is_defined_started_and_stopped()
    {
        TestMachine machine = TestMachine.Standard();
        const string type = "/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2";
        machine.Tree.File(type + "/name", "Dual port serial\n");
        machine.Tree.File(type + "/device_api", "vfio-pci\n");
        machine.Tree.File(type + "/available_instances", "12\n");
        machine.Tree.File(type + "/create", "");
        machine.Tree.Effects[type + "/create"] = uuid =>
        {
            machine.Tree.Link($"/sys/bus/mdev/devices/{uuid}/mdev_type", "../../../../class/mdev_bus/mtty/mdev_supported_types/mtty-2");
            machine.Tree.File($"/sys/bus/mdev/devices/{uuid}/vfio-dev/vfio0/dev", "511:0\n");
            machine.Tree.File($"/sys/bus/mdev/devices/{uuid}/remove", "");
            machine.Tree.Directory($"/sys/class/mdev_bus/mtty/{uuid}");
            machine.Tree.Effects[$"/sys/bus/mdev/devices/{uuid}/remove"] = _ =>
            {
                machine.Tree.Remove($"/sys/bus/mdev/devices/{uuid}");
                return 0;
            };
            return 0;
        };
        string root = Directory.CreateTempSubdirectory("vfio-root").FullName;
        try
        {
            Vfio.Run(machine, "mdev", "types")
                .Says("PARENT  TYPE    NAME              API       AVAILABLE\nmtty    mtty-2  Dual port serial  vfio-pci  12\n");
            Vfio.Run(machine, "mdev", "define", Uuid, "mtty", "mtty-2", "--root", root).Exits(ExitCode.Ok);
            Vfio.Run(machine, "mdev", "start", Uuid, "--root", root).Exits(ExitCode.Ok)
                .Says($"{Uuid}: started as mtty-2 of mtty, /dev/vfio/devices/vfio0\n");
            Vfio.Run(machine, "mdev", "start", Uuid, "--root", root).Exits(ExitCode.Busy);
            Vfio.Run(machine, "mdev", "--root", root)
                .Says($"UUID                                  STATE    PARENT  TYPE    GROUP  NODE\n{Uuid}  started  mtty    mtty-2  -      "
                + "/dev/vfio/devices/vfio0\n");
            Vfio.Run(machine, "mdev", "stop", Uuid, "--root", root).Exits(ExitCode.Ok);
            Vfio.Run(machine, "mdev", "forget", Uuid, "--root", root).Exits(ExitCode.Ok);
            Vfio.Run(machine, "mdev", "start", Uuid, "mtty", "mtty-9").Exits(ExitCode.NotFound)
                .Complains("mtty has no type 'mtty-9'. It has mtty-2.");
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    [Fact]
    public void Reset_says_what_it_hits_and_refuses_what_is_in_use()
    {
        TestMachine machine = TestMachine.Standard();
        foreach (string address in new[] { "0000:02:01.0", "0000:00:05.0" })
        {
            machine.Tree.File($"/sys/devices/pci0000:00/{address}/reset", "");
            machine.Tree.File(
                $"/sys/devices/pci0000:00/{address}/reset_method", address.Contains(":02:", StringComparison.Ordinal) ? "bus\n" : "flr bus\n");
        }

        Vfio.Run(machine, "reset", "--dry-run", "0000:02:01.0").Exits(ExitCode.Ok)
            .Says("0000:02:01.0: would be reset by bus, also hits 0000:02:02.0\n");
        Vfio.Run(machine, "reset", "0000:00:05.0").Exits(ExitCode.Busy)
            .Complains("0000:00:05.0 is in use by driver nvme. `vfio bind 0000:00:05.0` first, or say --force. Nothing was reset.");
        Vfio.Run(machine, "reset", "--force", "0000:00:05.0").Exits(ExitCode.Ok).Says("0000:00:05.0: reset by flr\n");
        Assert.Equal("1", machine.Tree.Text("/sys/devices/pci0000:00/0000:00:05.0/reset"));
        Vfio.Run(machine, "reset", "0000:00:04.0").Exits(ExitCode.Unsupported);
    }

    [Fact]
    public void Restore_gives_everything_back_and_one_that_fails_does_not_keep_the_others()
    {
        TestMachine machine = TestMachine.Standard();
        MemoryBindingStore store = new();
        Vfio.Run(machine, store, "bind", "0000:00:05.0", "0000:01:00.0").Exits(ExitCode.Ok);
        machine.OnProbe = static (driver, _) => driver == "nvme" ? -Errno.EIO : 0;
        Vfio run = Vfio.Run(machine, store, "restore").Exits(ExitCode.Incomplete);
        Assert.Equal("0000:01:00.0: igb\n", run.Out);
        Assert.Contains(
            "0000:00:05.0: writing '0000:00:05.0' to /sys/bus/pci/drivers/nvme/bind failed with EIO", run.Error, StringComparison.Ordinal);
        Assert.Equal("vfio-pci", machine.DriverOf("0000:00:05.0"));
        machine.OnProbe = static (_, _) => 0;
        Vfio.Run(machine, store, "restore").Exits(ExitCode.Ok).Says("0000:00:05.0: nvme\n");
        Vfio.Run(machine, store, "restore").Exits(ExitCode.Ok).Says("nothing to restore\n");
    }

    [Fact]
    public void Persist_binds_at_the_next_boot_and_drift_tells_what_changed()
    {
        string root = Directory.CreateTempSubdirectory("vfio-root").FullName;
        try
        {
            Vfio.Run(TestMachine.Standard(), "persist", "0000:00:05.0", "0000:01:00.0", "--root", root).Exits(ExitCode.Ok);
            Assert.Contains(
                "ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"0000:00:05.0\", ATTR{vendor}==\"0x144d\", ATTR{device}==\"0xa808\", "
                    + "ATTR{driver_override}=\"vfio-pci\"\n",
                File.ReadAllText(Path.Combine(root, "etc/udev/rules.d/10-vfio.rules")), StringComparison.Ordinal);
            Assert.True(File.Exists(Path.Combine(root, "etc/systemd/system/vfio.service")));

            // The machine boots anew, with its own drivers.
            TestMachine booted = TestMachine.Standard();
            Vfio.Run(booted, "drift", "--root", root).Exits(ExitCode.No)
                .Says("0000:00:05.0: on nvme, wanted on vfio-pci; `vfio persist --apply` binds it\n0000:01:00.0: on igb, wanted on vfio-pci; `vfio "
                    + "persist --apply` binds it\n");
            Vfio.Run(booted, "persist", "--apply", "--root", root).Exits(ExitCode.Ok)
                .Says("0000:00:05.0: on vfio-pci, as wanted\n0000:01:00.0: on vfio-pci, as wanted\n");

            // A card was plugged: the disk moved, and another one sits where it was.
            TestMachine moved = new();
            moved.Function("0000:00:05.0", "15b7:5006", "010802", group: 2);
            moved.Function("0000:00:08.0", "144d:a808", "010802", group: 3);
            Vfio.Run(moved, "persist", "--apply", "--root", root).Exits(ExitCode.No).Says(
                "0000:00:05.0: the device 144d:a808 is now at 0000:00:08.0; `vfio forget 0000:00:05.0` and `vfio persist "
                    + "0000:00:08.0`\n0000:01:00.0: nothing is there; `vfio forget 0000:01:00.0` if it is gone for good\n");
            Assert.Null(moved.DriverOf("0000:00:05.0"));

            Vfio.Run(booted, "forget", "0000:00:05.0", "0000:01:00.0", "--root", root).Exits(ExitCode.Ok);
            Assert.False(File.Exists(Path.Combine(root, "etc/udev/rules.d/10-vfio.rules")));
            Assert.False(File.Exists(Path.Combine(root, "etc/systemd/system/vfio.service")));
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    [Fact]
    public void Variant_drivers_are_taken_where_they_are_loaded_and_named_where_not()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/proc/sys/kernel/osrelease", "6.12.1\n");
        machine.Tree.File(
            "/lib/modules/6.12.1/modules.alias",
            "alias pci:v00008086d000010C9sv*sd*bc*sc*i* igb\nalias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\nalias vfio_pci:v0000144dd0000a808* "
            + "nvme_vfio_pci\n");
        Vfio unloaded = Vfio.Run(machine, "bind", "--dry-run", "0000:00:05.0").Exits(ExitCode.Ok);
        Assert.Equal(
            "vfio: 0000:00:05.0 has a VFIO driver of its own, nvme_vfio_pci, which is not loaded; `modprobe nvme_vfio_pci` adds what vfio-pci "
            + "cannot do, such as migration.\n", unloaded.Error);
        machine.Driver("nvme_vfio_pci");
        Vfio.Run(machine, "bind", "0000:00:05.0").Exits(ExitCode.Ok).Says("0000:00:05.0: nvme -> nvme_vfio_pci, /dev/vfio/devices/vfio0\n");
    }

    [Theory]
    [InlineData("", "list show explain attach man help")]
    [InlineData("bind", "0000:00:04.0 --group --force --dry-run")]
    [InlineData("bind 0000:00:04.0", "0000:00:05.0")]
    [InlineData("--host sim show", "0000:00:04.0")]
    [InlineData("list --driver", "igb nvme vfio-pci")]
    [InlineData("vf", "create delete")]
    [InlineData("completion", "bash zsh fish")]
    [InlineData("--host", "auto kernel sim")]
    public void Completion_offers(string words, string candidates)
    {
        string[] offered = [.. Completion.Candidates(words.Split(' ', StringSplitOptions.RemoveEmptyEntries), TestMachine.Standard().Tree)];
        Assert.All(candidates.Split(' '), candidate => Assert.Contains(candidate, offered));
    }

    [Fact]
    public void Completion_does_not_offer_what_is_there_already() =>
        Assert.DoesNotContain("0000:00:04.0", Completion.Candidates(["bind", "0000:00:04.0"], TestMachine.Standard().Tree));

    [Fact]
    public void The_manual_has_every_verb_and_every_option()
    {
        string page = ManualPage.Text();
        Assert.All(VerbDescription.All, verb => Assert.Contains($".SS vfio {verb.Name} ", page, StringComparison.Ordinal));
        Assert.All(VerbDescription.All.SelectMany(static verb => verb.Options),
            option => Assert.Contains(".B \\-\\-" + option.Name.Replace("-", "\\-", StringComparison.Ordinal), page, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_verb_has_a_help_page()
    {
        foreach (VerbDescription verb in VerbDescription.All)
        {
            Vfio run = Vfio.Run(TestMachine.Standard(), verb.Name, "--help").Exits(ExitCode.Ok);
            Assert.All(verb.Options, option => Assert.Contains("--" + option.Name, run.Out, StringComparison.Ordinal));
        }
    }
}
