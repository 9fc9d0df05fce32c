using Xunit;
using static VfioCli.Tests.Support.SimRun;

namespace VfioCli.Tests;

/// <summary>vfio sim run, with ordinary programs of the host: a shell, coreutils, and this very command as the unmodified program.</summary>
public sealed class SimRunTests
{
    [Fact]
    public void The_exit_status_is_the_programs()
    {
        Assert.Equal(7, Run("exit 7").Status);
        Assert.Equal(128 + 9, Run("kill -9 $$").Status);
    }

    [Fact]
    public void The_program_sees_the_machines_devices_and_the_hosts_other_files()
    {
        var (status, output, _) =
            Run("cat /sys/bus/pci/devices/0000:00:04.0/vendor; cd /sys/bus/pci/devices/0000:00:04.0; cat device; cat /etc/passwd | head -1");
        Assert.Equal(0, status);
        Assert.Equal(["0x1234", "0x11e8", File.ReadLines("/etc/passwd").First()], output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void A_write_to_an_attribute_has_its_effect_before_it_returns()
    {
        var (_, output, _) = Run("""
            d=/sys/bus/pci/devices/0000:00:04.0
            echo vfio-pci > $d/driver_override
            echo 0000:00:04.0 > /sys/bus/pci/drivers/vfio-pci/bind
            basename $(readlink $d/driver)
            ls /dev/vfio/devices
            echo 0000:00:04.0 > $d/driver/unbind
            test -e $d/driver || echo none
            """);
        Assert.Equal(["vfio-pci", "vfio0", "none"], output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void No_file_can_be_made_in_sysfs()
    {
        var (_, output, error) =
            Run("d=/sys/bus/pci/devices/0000:00:04.0; (echo 1 > $d/nothing); test -e $d/nothing || echo none; echo 1 > /dev/shm/$$ && rm "
            + "/dev/shm/$$ && echo made", shell: "bash");
        Assert.Contains("Permission denied", error, StringComparison.Ordinal);
        Assert.Equal(["none", "made"], output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void The_flags_of_an_open_are_obeyed()
    {
        const string Script = """
            import os
            def errno(path, flags):
                try: os.open(path, flags); return "ok"
                except OSError as e: return os.strerror(e.errno)
            print(errno("/dev/iommu", os.O_RDWR | os.O_DIRECTORY))
            print(errno("/dev/iommu", os.O_RDWR | os.O_CREAT | os.O_EXCL))
            print(errno("/dev/iommu", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW))
            os.symlink("/dev/iommu", "/dev/shm/to-iommu-%d" % os.getpid())
            link = "/dev/shm/to-iommu-%d" % os.getpid()
            print(errno(link, os.O_RDWR))
            print(errno(link, os.O_RDWR | os.O_NOFOLLOW))
            os.unlink(link)
            print(errno("/sys/bus/pci/devices/0000:00:04.0", os.O_RDONLY | os.O_NOFOLLOW))
            print(errno("/sys/bus/pci/devices/0000:00:04.0", os.O_RDONLY | os.O_DIRECTORY))
            """;
        Assert.SkipUnless(File.Exists("/usr/bin/python3"), "python3 is not installed");
        var (status, output, error) = Run($"python3 - <<'PYTHON'\n{Script}\nPYTHON");
        Assert.True(status == 0, error);
        Assert.Equal(
            ["Not a directory", "File exists", "ok", "ok", "Too many levels of symbolic links", "Too many levels of symbolic links", "ok"],
            output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void A_store_that_the_machine_refuses_fails_in_the_program()
    {
        var (status, _, error) = Run("echo 0000:00:04.0 > /sys/bus/pci/drivers/vfio-pci/bind", shell: "bash");
        Assert.NotEqual(0, status);
        Assert.Contains("No such device", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Dma_of_a_device_reaches_the_programs_memory_and_its_interrupts_the_programs_eventfds()
    {
        var (status, output, error) = Run($"{Command} attach --host kernel --selftest 0000:00:04.0");
        Assert.True(status == 0, output + error);
        Assert.Contains("6 of 6 checks", output, StringComparison.Ordinal);
    }

    [Fact]
    public void The_nodes_are_given_to_another_user()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "giving a file away takes root");
        var (status, output, error) =
            Run($"{Command} bind --host kernel --owner 65534:12 0000:00:04.0; stat -c '%u:%g %n' /dev/vfio/devices/vfio0 /dev/vfio/3");
        Assert.True(status == 0, output + error);
        Assert.EndsWith("65534:12 /dev/vfio/devices/vfio0\n65534:12 /dev/vfio/3\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_program_of_another_user_gets_the_descriptors_that_he_may_not_open()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "starting a program as another user takes root");
        string user = File.ReadLines("/etc/passwd").Select(static line => line.Split(':')).First(static fields => fields[2] != "0")[0];
        var (status, output, error) =
            Run($"{Command} run --host kernel --user {user} 0000:00:04.0 -- sh -c 'id -un; ls -l /proc/self/fd/$VFIO_IOMMUFD >/dev/null && echo "
            + "open; exec 3<>/dev/vfio/devices/vfio0'");
        Assert.NotEqual(0, status);
        Assert.Equal($"{user}\nopen\n", output);
        Assert.Contains("ermission denied", error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_killed_program_is_reported_with_what_it_left_and_its_device_is_free_again()
    {
        var (status, output, error) = Run($"""
            {Command} attach --host kernel --map 1M --hold 0000:00:04.0 >/dev/null 2>&1 &
            while ! ls /sys/bus/pci/devices/0000:00:04.0/vfio-dev >/dev/null 2>&1; do sleep 0.1; done
            sleep 1.5
            kill -9 $!
            wait $!
            {Command} attach --host kernel 0000:00:04.0 | tail -1
            """);
        Assert.True(status == 0, output + error);
        Assert.Contains("left open at exit: /dev/iommu with 1 bound device", error, StringComparison.Ordinal);
        Assert.Contains("1024 KiB of pinned memory", error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_recorded_run_is_the_same_on_a_fresh_machine_and_a_changed_answer_is_named()
    {
        string file = Path.ChangeExtension(Path.GetTempFileName(), ".jsonl");
        var (status, _, error) = Start(["sim", "run", "--trace", file, "--", "sh", "-c", $"{Command} attach --host kernel --map 2M 0000:00:04.0"]);
        Assert.SkipWhen(status == 6, $"this host cannot run programs on the simulated machine: {error}");
        Assert.True(status == 0, error);
        var (same, output, _) = Start(["trace", "replay", file]);
        Assert.True(same == 0, output);
        Assert.Contains("no differences", output, StringComparison.Ordinal);

        string record = File.ReadAllText(file);
        File.WriteAllText(file, record.Replace("\"out_ioas_id\":1", "\"out_ioas_id\":5", StringComparison.Ordinal));
        var (other, named, _) = Start(["trace", "replay", file]);
        File.Delete(file);
        Assert.Equal(1, other);
        Assert.Contains("out_ioas_id 5 became 1", named, StringComparison.Ordinal);
    }

    [Fact]
    public void A_thousand_descriptors_can_be_open_at_once()
    {
        var (status, output, error) =
            Run("for i in $(seq 10 1009); do eval \"exec $i<>/dev/iommu\"; done; ls -l /proc/$$/fd | grep -c socket", shell: "bash");
        Assert.True(status == 0 && output == "1000\n", output + error);
    }
}
