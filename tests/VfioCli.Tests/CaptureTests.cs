using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Hosts;
using VfioCli.Output;
using VfioCli.Tests.Support;
using Xunit;

namespace VfioCli.Tests;

public class CaptureTests
{
    [Theory]
    [InlineData("list")]
    [InlineData("explain 0000:02:01.0")]
    [InlineData("explain 0000:00:05.0")]
    [InlineData("show 0000:00:05.0")]
    [InlineData("groups")]
    [InlineData("topology")]
    public void A_capture_reads_like_the_machine_it_was_taken_of(string line)
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/sys/devices/pci0000:00/0000:00:05.0/nvme/nvme0/nvme0n1/size", "1\n");
        machine.Tree.File("/sys/class/block/nvme0n1/dev", "259:0\n");
        machine.Tree.File("/proc/self/mountinfo", "22 1 259:0 / / rw - ext4 /dev/root rw\n");
        string file = Path.GetTempFileName();
        try
        {
            Vfio.Run(machine, "capture", file).Exits(ExitCode.Ok);
            using CapturedHost captured = new(file);
            StringWriter output = new() { NewLine = "\n" };
            _ = Program.Run(line.Split(' '), new Terminal(output, TextWriter.Null, false, false),
                (_, _) => new OpenedHost(IommuHost.Over(captured), false, new MemoryBindingStore()));
            Assert.Equal(Vfio.Run(machine, line.Split(' ')).Out, output.ToString());
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void Masking_blanks_what_identifies_and_keeps_what_diagnoses()
    {
        TestMachine machine = TestMachine.Standard();
        machine.Tree.File("/proc/cmdline", "root=UUID=1234 luks.key=secret intel_iommu=on quiet\n");
        machine.Tree.File("/etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n");
        machine.Tree.File("/sys/devices/pci0000:00/0000:01:00.0/net/eth0/address", "52:54:00:12:34:56\n");
        byte[] config = new byte[4096];
        config[0x100] = 0x03;
        config[0x104] = 0x77;
        machine.Tree.Bytes("/sys/devices/pci0000:00/0000:01:00.0/config", config);
        string file = Path.GetTempFileName();
        try
        {
            Vfio.Run(machine, "capture", "--mask", file).Exits(ExitCode.Ok);
            using CapturedHost captured = new(file);
            Assert.Equal("root=xxx luks.key=xxx intel_iommu=on quiet", captured.Sysfs.Attribute("/proc/cmdline"));
            Assert.DoesNotContain("alice", captured.Sysfs.Attribute("/etc/passwd"), StringComparison.OrdinalIgnoreCase);
            Assert.Equal("00:00:00:00:00:00", captured.Sysfs.Attribute("/sys/bus/pci/devices/0000:01:00.0/net/eth0/address"));
            _ = captured.Sysfs.ReadBytes("/sys/bus/pci/devices/0000:01:00.0/config", out byte[] masked);
            Assert.Equal(0, masked[0x104]);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void A_capture_cannot_be_changed()
    {
        TestMachine machine = TestMachine.Standard();
        string file = Path.GetTempFileName();
        try
        {
            Vfio.Run(machine, "capture", file).Exits(ExitCode.Ok);
            using CapturedHost captured = new(file);
            StringWriter error = new() { NewLine = "\n" };
            int status = Program.Run(["bind", "0000:00:04.0"], new Terminal(TextWriter.Null, error, false, false),
                (_, _) => new OpenedHost(IommuHost.Over(captured), false, new MemoryBindingStore()));
            Assert.Equal((int)ExitCode.Unsupported, status);
            Assert.StartsWith(
                "vfio: 0000:00:04.0: this host is read-only. A capture can be looked at, not changed.", error.ToString(), StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(file);
        }
    }
}
