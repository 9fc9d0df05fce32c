using IommuFd.Sysfs;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

/// <summary>
/// A command that is killed (SIGKILL) at any write to sysfs or to its journal: whatever runs next puts the functions back, and none is left
/// driverless.
/// </summary>
public sealed class KilledCommandTests : IDisposable
{
    private static readonly PciAddress s_disk = PciAddress.Parse("0000:00:05.0"), s_nic = PciAddress.Parse("0000:01:00.0");
    private readonly string _directory = Directory.CreateTempSubdirectory("vfio-store").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData("bind", false)]
    [InlineData("bind", true)]
    [InlineData("unbind", false)]
    [InlineData("unbind", true)]
    public void At_any_write_to_sysfs(string operation, bool afterTheWrite)
    {
        int writes = Plan(Machine(operation, 0), Open(0), operation).Sum(static plan => plan.Writes.Count);
        Assert.Equal(6, writes);
        for (int failing = 1; failing <= writes; failing++)
        {
            TestMachine machine = Machine(operation, failing);
            using (DirectoryBindingStore store = Open(failing))
            {
                DriverBinder killed = new(new FaultySysfs(machine.Tree, failing, static () => throw new KilledException(), afterTheWrite), store);
                _ = Assert.Throws<KilledException>(() => killed.Apply(Plan(machine, store, operation)));
            }

            // The journal holds what was there before: on the drivers of the host, or (unbind) in user hands.
            using DirectoryBindingStore next = Open(failing);
            Vfio.Run(machine, next, "list").Exits(ExitCode.Ok)
                .Complains("an earlier vfio command was killed while it changed drivers; put back: 0000:00:05.0, 0000:01:00.0.");
            AssertOn(machine, operation == "bind" ? ("nvme", "igb") : ("vfio-pci", "vfio-pci"));
            Assert.Empty(next.Unfinished());
            AssertGivenBack(machine, next);
        }
    }

    [Theory]
    [InlineData("bind", false)]
    [InlineData("bind", true)]
    [InlineData("unbind", false)]
    [InlineData("unbind", true)]
    public void At_any_write_to_its_journal(string operation, bool afterTheChange)
    {
        const int changes = 4; // bind: begin, remember twice, commit; unbind: begin, commit, forget twice
        int commit = operation == "bind" ? 4 : 2;
        for (int failing = 1; failing <= changes; failing++)
        {
            TestMachine machine = Machine(operation, failing);
            using (DirectoryBindingStore store = Open(failing))
            {
                KillingStore dying = new(store, failing, afterTheChange);
                _ = Assert.Throws<KilledException>(() => new DriverBinder(machine.Tree, dying).Apply(Plan(machine, dying, operation)));
            }

            using DirectoryBindingStore next = Open(failing);
            Vfio.Run(machine, next, "list").Exits(ExitCode.Ok);
            Assert.Empty(next.Unfinished());

            // All or none: before the change was committed it is undone, afterwards it stands.
            (string, string) before = operation == "bind" ? ("nvme", "igb") : ("vfio-pci", "vfio-pci"),
                done = operation == "bind" ? ("vfio-pci", "vfio-pci") : ("nvme", "igb");
            AssertOn(machine, failing > commit || (failing == commit && afterTheChange) ? done : before);
            AssertGivenBack(machine, next);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Also_when_the_command_that_puts_back_is_killed_in_turn(bool afterTheWrite)
    {
        for (int failing = 1; failing <= 6; failing++)
        {
            TestMachine machine = Machine("bind", failing);
            using (DirectoryBindingStore store = Open(failing))
            {
                DriverBinder killed = new(new FaultySysfs(machine.Tree, 6, static () => throw new KilledException(), afterTheWrite: true), store);
                _ = Assert.Throws<KilledException>(() => killed.Apply(Plan(machine, store, "bind")));
            }

            using (DirectoryBindingStore store = Open(failing))
            {
                DriverBinder killed = new(new FaultySysfs(machine.Tree, failing, static () => throw new KilledException(), afterTheWrite), store);
                _ = Assert.Throws<KilledException>(() => killed.Recover(out _, out _));
            }

            using DirectoryBindingStore next = Open(failing);
            Vfio.Run(machine, next, "list").Exits(ExitCode.Ok)
                .Complains("an earlier vfio command was killed while it changed drivers; put back: 0000:00:05.0, 0000:01:00.0.");
            AssertOn(machine, ("nvme", "igb"));
            Assert.Empty(next.Unfinished());
        }
    }

    private static IReadOnlyList<DriverPlan> Plan(TestMachine machine, IBindingStore store, string operation)
    {
        DriverBinder binder = new(machine.Tree, store);
        return operation == "bind" ? binder.PlanBind([s_disk, s_nic], "vfio-pci") : binder.PlanReturn([s_disk, s_nic]);
    }

    private static void AssertOn(TestMachine machine, (string Disk, string Nic) drivers)
    {
        Assert.Equal(drivers, (machine.DriverOf("0000:00:05.0"), machine.DriverOf("0000:01:00.0")));
        Assert.Equal(drivers.Disk == "nvme" ? null : "vfio-pci", machine.OverrideOf("0000:00:05.0"));
        Assert.Equal(drivers.Nic == "igb" ? null : "vfio-pci", machine.OverrideOf("0000:01:00.0"));
    }

    // Nothing was forgotten: one command leads back to the host's drivers.
    private static void AssertGivenBack(TestMachine machine, IBindingStore store)
    {
        Vfio.Run(machine, store, "restore").Exits(ExitCode.Ok);
        AssertOn(machine, ("nvme", "igb"));
    }

    private DirectoryBindingStore Open(int run) => new(Path.Combine(_directory, run.ToString(System.Globalization.CultureInfo.InvariantCulture)));

    private TestMachine Machine(string operation, int run)
    {
        TestMachine machine = TestMachine.Standard();
        if (operation == "unbind")
        {
            using DirectoryBindingStore store = Open(run);
            Vfio.Run(machine, store, "bind", "0000:00:05.0", "0000:01:00.0").Exits(ExitCode.Ok);
        }

        return machine;
    }
}
