using System.Text.Json;
using IommuFd;
using IommuFd.HwSim;
using IommuFd.Sysfs;
using VfioCli.Hosts;
using VfioCli.Output;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

/// <summary>The main job, on the simulated machine that the README's first command meets.</summary>
public class AttachTests
{
    [Fact]
    public void The_first_command_of_the_README_passes_its_self_test_and_gives_the_function_back()
    {
        (Vfio run, SimulatedHost host) = Run("attach", "0000:00:04.0", "--selftest");
        using (host)
        {
            run.Exits(ExitCode.Ok);
            Assert.Contains("self-test: passed, 6 of 6 checks\n", run.Out, StringComparison.Ordinal);
            Assert.Contains("driver     0000:00:04.0: no driver -> vfio-pci for the time of this command\n", run.Out, StringComparison.Ordinal);
            Assert.Contains("VT-d second stage", run.Out, StringComparison.Ordinal);
            Assert.Null(new PciBus(host.Sysfs).Find(PciAddress.Parse("0000:00:04.0"))!.Driver);
        }
    }

    [Fact]
    public void Json_has_the_same_story()
    {
        (Vfio run, SimulatedHost host) = Run("attach", "--json", "0000:00:04.0", "--selftest", "--cookie", "0xc0ffee", "--map", "2M@0x100000,4K");
        using (host)
        {
            JsonElement root = run.Exits(ExitCode.Ok).Json();
            Assert.Equal("vfio.attach/1", root.GetProperty("schema").GetString());
            Assert.Equal("0xc0ffee", root.GetProperty("devices")[0].GetProperty("cookie").GetString());
            Assert.True(root.GetProperty("devices")[0].GetProperty("borrowed").GetBoolean());
            Assert.Equal("0x100000", root.GetProperty("addressSpace").GetProperty("mappings")[0].GetProperty("iova").GetString());
            Assert.True(root.GetProperty("selfTests")[0].GetProperty("passed").GetBoolean());
        }
    }

    [Fact]
    public void A_function_of_a_host_driver_is_refused_with_the_command_that_binds_it()
    {
        (Vfio run, SimulatedHost host) = Run("attach", "0000:00:05.0");
        using (host)
        {
            run.Exits(ExitCode.Busy)
                .Complains("0000:00:05.0 belongs to driver nvme. `vfio bind 0000:00:05.0` gives it to vfio-pci; --bind does so for the time of "
                + "this command.");
        }
    }

    [Fact]
    public void Bind_takes_it_for_the_time_of_the_command()
    {
        (Vfio run, SimulatedHost host) = Run("attach", "--bind", "0000:00:05.0");
        using (host)
        {
            run.Exits(ExitCode.Ok);
            Assert.Contains("0000:00:05.0: nvme -> vfio-pci for the time of this command", run.Out, StringComparison.Ordinal);
            Assert.Equal("nvme", new PciBus(host.Sysfs).Find(PciAddress.Parse("0000:00:05.0"))!.Driver);
        }
    }

    [Fact]
    public void Two_members_of_a_group_share_an_address_space()
    {
        (Vfio run, SimulatedHost host) = Run("attach", "0000:02:01.0", "0000:02:02.0", "--selftest");
        using (host)
        {
            run.Exits(ExitCode.Ok);
            Assert.Contains("self-test: passed, 12 of 12 checks\n", run.Out, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("--map 4K@0x1001", "IOVA 0x1001 is not a multiple of 4 KiB, the smallest page of this address space. Use 0x1000. Nothing was "
        + "mapped.")]
    [InlineData("--map 100", "size 0x64 is not a multiple of 4 KiB, the smallest page of this address space. Use 0x1000. Nothing was mapped.")]
    [InlineData("--map 1M@0xfee00000", "IOVA 0xfee00000-0xfeefffff is not inside a permitted range (0x0-0xfedfffff, 0xfef00000-0xffffffffffff). "
        + "Leave out @IOVA to let the kernel choose. Nothing was mapped.")]
    [InlineData("--map 4K@0xfffffffffffff000,8K@0xfffffffffffff000", "8K@0xfffffffffffff000 wraps around the end of the address space. The last "
        + "byte, IOVA + SIZE - 1, must be at most 0xffffffffffffffff.")]
    [InlineData("--map 0", "a mapping of 0 bytes is no mapping. Give a size such as 4K or 2M.")]
    [InlineData("--map abc", "the size 'abc' is not a number. Numbers are decimal or 0x hexadecimal, with K, M, G or T for powers of 1024: 4096, "
        + "0x1000, 2M.")]
    [InlineData("--cookie -5x", "the cookie '-5x' is not a number. Numbers are decimal or 0x hexadecimal, with K, M, G or T for powers of 1024: "
        + "4096, 0x1000, 2M.")]
    public void Bad_mappings_change_nothing(string options, string sentence)
    {
        (Vfio run, SimulatedHost host) = Run(["attach", "0000:00:04.0", .. options.Split(' ')]);
        using (host)
        {
            run.Exits(ExitCode.Usage).Complains(sentence);
            Assert.Null(new PciBus(host.Sysfs).Find(PciAddress.Parse("0000:00:04.0"))!.Driver);
        }
    }

    [Fact]
    public void A_function_without_a_self_test_says_so_before_anything_is_touched()
    {
        (Vfio run, SimulatedHost host) = Run("attach", "--bind", "--selftest", "0000:01:00.0");
        using (host)
        {
            run.Exits(ExitCode.Unsupported)
                .Complains("0000:01:00.0 (8086:10c9) has no self-test. There is one for 1234:11e8 (QEMU's edu); without --selftest it can be "
                + "attached.");
        }
    }

    [Theory]
    [InlineData("amd", "format     0000:00:04.0: AMD-Vi v1")]
    [InlineData("arm-smmuv3", "format     0000:00:04.0: SMMUv3 stage 1 and stage 2")]
    [InlineData("riscv", "context    /dev/iommu")]
    [InlineData("legacy-vfio", "context    /dev/vfio/vfio, a container for each group")]
    [InlineData("broken-no-cdev", "context    /dev/vfio/vfio, a container for each group")]
    public void The_self_test_passes_on_every_family_and_interface(string topology, string line)
    {
        (Vfio run, SimulatedHost host) = RunOn(topology, "attach", "0000:00:04.0", "--selftest");
        using (host)
        {
            run.Exits(ExitCode.Ok);
            Assert.Contains("\n" + line, run.Out, StringComparison.Ordinal);
            Assert.Contains("self-test: passed, 6 of 6 checks\n", run.Out, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("noiommu", 6, "0000:00:04.0 has no IOMMU: its DMA goes to physical addresses, and a self-test would overwrite memory.")]
    [InlineData("broken-iommu-off", 6, "0000:00:04.0 has no IOMMU group")]
    public void A_broken_host_gets_the_right_sentence(string topology, int status, string sentence)
    {
        (Vfio run, SimulatedHost host) = RunOn(topology, "attach", "0000:00:04.0", "--selftest");
        using (host)
        {
            run.Exits((ExitCode)status);
            Assert.StartsWith("vfio: " + sentence, run.Error, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("broken-no-remapping", "0000:00:04.0 cannot be attached: interrupt remapping: off: VFIO_DEVICE_BIND_IOMMUFD will answer EPERM")]
    [InlineData("broken-reserved", "0000:00:04.0 cannot be attached: reserved regions: the firmware insists on")]
    [InlineData("broken-holder", "0000:00:04.0 cannot be attached: holders: qemu-system-x86 (pid 4242) has it open")]
    public void What_the_kernel_puts_into_one_number_is_found_in_sysfs(string topology, string sentence)
    {
        (Vfio run, SimulatedHost host) = RunOn(topology, "attach", "0000:00:04.0");
        using (host)
        {
            Assert.StartsWith("vfio: " + sentence, run.Error, StringComparison.Ordinal);
            Assert.NotEqual(0, run.ExitStatus);
        }
    }

    [Fact]
    public void Every_reading_verb_runs_on_it()
    {
        foreach (string line in new[] { "list", "show 0000:00:04.0", "explain 0000:00:04.0", "groups", "topology", "topology --dot", "topology --svg",
            "iommu", "doctor" })
        {
            (Vfio run, SimulatedHost host) = Run(line.Split(' '));
            using (host)
            {
                Assert.True(run.ExitStatus is 0 or 1, line + ": " + run.Error);
                Assert.NotEmpty(run.Out);
            }
        }
    }

    private static (Vfio Run, SimulatedHost Host) Run(params string[] args) => RunOn("intel", args);

    private static (Vfio Run, SimulatedHost Host) RunOn(string topology, params string[] args)
    {
        SimulatedHost host = new(Topology.Load(topology));
        StringWriter output = new() { NewLine = "\n" }, error = new() { NewLine = "\n" };
        int status = Program.Run(args, new Terminal(output, error, false, false), (_, _) =>
            new OpenedHost(IommuHost.Over(host), false, new MemoryBindingStore()));
        return (new Vfio(status, output.ToString(), error.ToString()), host);
    }
}
