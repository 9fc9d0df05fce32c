using System.Diagnostics;
using Xunit;
using static VfioCli.Tests.Support.SimRun;

namespace VfioCli.Tests;

/// <summary>What <c>vfio sim run</c> says where it cannot run a program: one sentence of cause and remedy, never a hang or a stack trace.</summary>
public sealed class SimRunBadInputTests : IDisposable
{
    private const string Mode0755 = "755";

    private readonly string _folder = Directory.CreateTempSubdirectory("vfio-sim-run-").FullName;

    public SimRunBadInputTests() => File.SetUnixFileMode(_folder, (UnixFileMode)0b111_101_101);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("no-such-program", 3, "there is no program 'no-such-program'. Give its path, or a name that PATH leads to.")]
    [InlineData("/no/such/program", 3, "there is no program '/no/such/program'. Give its path, or a name that PATH leads to.")]
    [InlineData("/etc/passwd", 4, "'/etc/passwd' is not executable. Give a program, or an interpreter with the file as its argument.")]
    [InlineData("/etc", 4, "'/etc' is not executable. Give a program, or an interpreter with the file as its argument.")]
    public void A_program_that_is_missing_or_not_executable_is_one_sentence(string program, int status, string sentence) =>
        Complains(Start(["sim", "run", "--", program]), status, sentence);

    [Fact]
    public void A_file_without_an_interpreter_is_named_with_what_runs_it()
    {
        string file = Script("words", "echo hello", Mode0755);
        Complains(
            OnThisHost(Start(["sim", "run", "--", file]), except: "cannot be executed"),
            6,
            $"'{file}' cannot be executed: it is no program for this processor and no script that names its interpreter; give the interpreter, "
                + "with the file as its argument.");
    }

    [Fact]
    public void A_script_whose_interpreter_is_missing_says_so()
    {
        string file = Script("script", "#!/no/such/interpreter", Mode0755);
        Complains(
            OnThisHost(Start(["sim", "run", "--", file]), except: "cannot be executed"),
            6,
            $"'{file}' cannot be executed: the interpreter or loader that it names is not there; install that.");
    }

    [Fact]
    public async Task A_static_program_is_served_as_any_other()
    {
        using CProgram program = await CProgram.Compile("tests/VfioCli.Tests/Programs/numbers.c", "-static");
        var (status, output, error) = await program.UnderSimulator("intel", "/dev/iommu", "0x3b81");
        Assert.True(status == 0, error);
        Assert.Contains("ok", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("4755")]
    [InlineData("2755")]
    public void A_setuid_program_is_refused_to_an_ordinary_user_for_it_would_run_without_its_privileges(string mode)
    {
        string file = Script("privileged", "#!/bin/sh", mode);
        Complains(
            StartAsOrdinaryUser("sim", "run", "--", file),
            4,
            $"'{file}' is setuid or setgid, and would not get its privileges under a filter that a user installed. Run vfio sim run as root.");
    }

    [Fact]
    public void A_setuid_program_that_root_runs_gets_its_privileges()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "giving a file away takes root");
        string file = Path.Combine(_folder, "id");
        File.Copy("/usr/bin/id", file);
        Assert.Equal(0, Start("chown", ["65534", file]).Status);
        Assert.Equal(0, Start("chmod", ["4755", file]).Status);
        Assert.SkipUnless(Start(file, ["-u"]).Output == "65534\n", "the temporary folder is on a file system that is mounted nosuid");
        Assert.Equal("65534\n", OnThisHost(Start(["sim", "run", "--", file, "-u"])).Output);
    }

    [Theory]
    [InlineData("seccomp", "refuses a seccomp filter",
        "the kernel refuses a seccomp filter with user notification: EPERM; it takes Linux 5.9, CONFIG_SECCOMP_FILTER and a container that permits "
            + "seccomp(2).")]
    [InlineData("process_vm_readv", "copy a program's memory",
        "the kernel does not let this process copy a program's memory (process_vm_readv, process_vm_writev: EPERM); "
        + "it takes CONFIG_CROSS_MEMORY_ATTACH and a container that permits these calls.")]
    public async Task A_host_that_does_not_permit_a_call_is_one_sentence(string call, string expected, string sentence)
    {
        using CProgram deny = await CProgram.Compile("tests/VfioCli.Tests/Programs/deny.c");
        string[] arguments = [call, "dotnet", typeof(Program).Assembly.Location, "sim", "run", "--", "true"];
        Complains(OnThisHost(Start(deny.Path, arguments), except: expected), 6, sentence);
    }

    [Fact]
    public async Task A_root_without_mount_namespaces_is_one_sentence()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "an ordinary user is told of user namespaces");
        using CProgram deny = await CProgram.Compile("tests/VfioCli.Tests/Programs/deny.c");
        Complains(
            Start(deny.Path, ["unshare", "dotnet", typeof(Program).Assembly.Location, "sim", "run", "--", "true"]),
            6,
            "this process may not have a mount namespace of its own (EPERM); run it where CAP_SYS_ADMIN is real (docker run --privileged), or as "
                + "an ordinary user who may have user namespaces.");
    }

    [Fact]
    public async Task A_user_without_user_namespaces_is_told_who_can_permit_them()
    {
        using CProgram deny = await CProgram.Compile("tests/VfioCli.Tests/Programs/deny.c");
        Complains(
            AsOrdinaryUser(deny.Path, "unshare", "dotnet", typeof(Program).Assembly.Location, "sim", "run", "--", "true"),
            6,
            "no user namespace can be made (unshare: unshare failed: Operation not permitted); run as root, or permit them (sysctl "
                + "kernel.unprivileged_userns_clone=1, user.max_user_namespaces)"
                + " and install util-linux 2.38 or later.");
    }

    [Fact]
    public void A_run_inside_a_run_is_one_sentence() => Complains(
        OnThisHost(Start(["sim", "run", "--", "dotnet", typeof(Program).Assembly.Location, "sim", "run", "--", "true"]), except: "inside"),
        6,
        "this process runs under a seccomp listener already, and the kernel permits one: vfio sim run cannot run inside vfio sim run; leave that "
            + "first.");

    [Fact]
    public void A_program_that_outlives_the_simulator_gets_ENODEV_and_the_hosts_files()
    {
        string file = Path.Combine(_folder, "lines");
        var (status, _, _) = Run($"kill -9 $PPID; sleep 1; (cat /dev/iommu; cat /etc/passwd | head -1; echo end) >{file} 2>&1");
        Assert.Equal(128 + 9, status);
        string[] lines = Ended(file);
        Assert.Contains("No such device", lines[0], StringComparison.Ordinal);
        Assert.Equal(File.ReadLines("/etc/passwd").First(), lines[1]);
    }

    [Fact]
    public async Task A_descriptor_that_outlives_the_simulator_answers_ENODEV()
    {
        using CProgram outlive = await CProgram.Compile("tests/VfioCli.Tests/Programs/outlive.c");
        string file = Path.Combine(_folder, "lines");
        var (status, _, _) = await outlive.UnderSimulator("intel", file);
        Assert.Equal(128 + 9, status);
        Assert.Equal(
            [
                "ioctl before: ok", "ioctl: ENODEV", "read: ENODEV", "write: ENODEV", "pread: ENODEV", "mmap: ENODEV", "dup: ENODEV", "open: ENODEV",
                "poll: ok", "close: ok", "end: ok",
            ],
            Ended(file));
    }

    // The lines of a program that nobody waits for, once it has ended.
    private static string[] Ended(string file)
    {
        Stopwatch waited = Stopwatch.StartNew();
        while (!(File.Exists(file) && File.ReadAllText(file).Contains("\nend", StringComparison.Ordinal)))
        {
            Assert.True(waited.Elapsed < TimeSpan.FromSeconds(30), "the program hangs after: "
                + $"{(File.Exists(file) ? File.ReadAllText(file) : "nothing")}");
            Thread.Sleep(50);
        }

        return File.ReadAllLines(file);
    }

    private static void Complains((int Status, string Output, string Error) ended, int status, string sentence)
    {
        Assert.Equal($"vfio: {sentence}\n", ended.Error);
        Assert.Equal(status, ended.Status);
        Assert.Empty(ended.Output);
    }

    // Skips where the host fails for a reason of its own.
    private static (int Status, string Output, string Error) OnThisHost((int Status, string Output, string Error) ended, string? except = null)
    {
        Assert.SkipWhen(
            ended.Status == 6 && (except is null || !ended.Error.Contains(except, StringComparison.Ordinal)),
            $"this host cannot run programs on the simulated machine: {ended.Error}");
        return ended;
    }

    private static (int Status, string Output, string Error) StartAsOrdinaryUser(params string[] arguments) =>
        AsOrdinaryUser(["dotnet", typeof(Program).Assembly.Location, .. arguments]);

    // Root becomes nobody, where nobody may read this command.
    private static (int Status, string Output, string Error) AsOrdinaryUser(params string[] command)
    {
        if (!Environment.IsPrivilegedProcess)
        {
            return Start(command[0], command[1..]);
        }

        string[] nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
        Assert.SkipUnless(File.Exists("/usr/bin/setpriv"), "setpriv (util-linux) is not installed");
        Assert.SkipUnless(
            Start("setpriv", [.. nobody, "test", "-r", typeof(Program).Assembly.Location]).Status == 0, "another user may not read this command");
        return Start("setpriv", [.. nobody, .. command]);
    }

    private string Script(string name, string content, string mode)
    {
        string file = Path.Combine(_folder, name);
        File.WriteAllText(file, content + "\n");
        Assert.Equal(0, Start("chmod", [mode, file]).Status);
        return file;
    }
}
