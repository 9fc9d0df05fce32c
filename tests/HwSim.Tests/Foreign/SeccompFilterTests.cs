using System.Diagnostics;
using System.Reflection;
using IommuFd.HwSim.Foreign;
using Xunit;

namespace HwSim.Tests.Foreign;

/// <summary>The filter of vfio sim run, interpreted for x86-64 and for arm64: what reaches the simulator, and what runs at full speed.</summary>
public sealed class SeccompFilterTests
{
    private const uint Allow = 0x7fff0000, Notify = 0x7fc00000; // SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF
    private const int First = 1000, End = 2000;
    private const ulong Biased = (ulong)SeccompFilter.RegionBias | 0x1000;

    public static TheoryData<string> Architectures => ["x86-64", "arm64"];

    [Theory]
    [MemberData(nameof(Architectures))]
    public void The_numbers_are_those_of_the_kernels_headers(string architecture)
    {
        (string header, string prefix) = architecture == "arm64"
            ? ("asm-generic/unistd.h", "#define __BITS_PER_LONG 64\n#define __ARCH_WANT_NEW_STAT\n") : ("asm/unistd_64.h", "");
        SystemCalls calls = Calls(architecture);
        PropertyInfo[] numbers = [.. typeof(SystemCalls).GetProperties().Where(static property => property.PropertyType == typeof(int))];
        Assert.True(numbers.Length > 20);
        string? values = Preprocess(prefix + $"#include <{header}>\n" + string.Concat(
            numbers.Select(static property => $"{property.Name}: __NR_{property.Name}\n")));
        Assert.SkipWhen(values is null, "gcc or the kernel's headers are not installed here (Debian: gcc, linux-libc-dev)");
        Dictionary<string, string> found = values.Split('\n').Where(static line => line.Contains(": ", StringComparison.Ordinal))
            .Select(static line => line.Split(": ")).ToDictionary(static pair => pair[0], static pair => pair[1]);
        Assert.All(numbers, property =>
        {
            // The generic table calls them by other names where 32-bit machines need a second one; a name without a number stays what it was.
            string text = found[property.Name];
            int expected = int.TryParse(text, out int number) ? number : -1;
            Assert.Equal((property.Name, expected), (property.Name, (int)property.GetValue(calls)!));
        });
    }

    [Theory]
    [MemberData(nameof(Architectures))]
    public void Every_open_is_looked_at_because_only_its_path_tells(string architecture)
    {
        SystemCalls calls = Calls(architecture);
        foreach (int number in new[] { calls.open, calls.openat, calls.openat2, calls.creat }.Where(static number => number >= 0))
        {
            Assert.Equal(Notify, Run(architecture, number, 3, 0x7fff_0000_1000));
        }
    }

    [Theory]
    [MemberData(nameof(Architectures))]
    public void An_ioctl_of_iommufd_and_VFIO_is_looked_at_on_any_descriptor_and_no_other(string architecture)
    {
        SystemCalls calls = Calls(architecture);
        Assert.Equal(Notify, Run(architecture, calls.ioctl, 3, 0x3b81)); // IOMMU_IOAS_ALLOC
        Assert.Equal(Notify, Run(architecture, calls.ioctl, 3, 0x3b64)); // VFIO_GET_API_VERSION
        Assert.Equal(Allow, Run(architecture, calls.ioctl, 3, 0x5401)); // TCGETS
        Assert.Equal(Allow, Run(architecture, calls.ioctl, First, 0x5401));
    }

    [Theory]
    [MemberData(nameof(Architectures))]
    public void Calls_on_a_descriptor_are_looked_at_inside_the_reserved_range_only(string architecture)
    {
        SystemCalls calls = Calls(architecture);
        int[] numbers = [calls.read, calls.readv, calls.write, calls.writev, calls.preadv, calls.pwritev, calls.pread64, calls.pwrite64, calls.fstat,
            calls.newfstatat, calls.statx,
            calls.lseek, calls.ftruncate, calls.dup, calls.fcntl, calls.close];
        Assert.All(numbers, number =>
        {
            Assert.Equal(Notify, Run(architecture, number, First, 0x1000, 64));
            Assert.Equal(Notify, Run(architecture, number, End - 1, 0x1000, 64));
            Assert.Equal(Allow, Run(architecture, number, First - 1, 0x1000, 64));
            Assert.Equal(Allow, Run(architecture, number, End, 0x1000, 64));
        });
    }

    [Theory]
    [MemberData(nameof(Architectures))]
    public void What_ends_a_number_of_the_reserved_range_is_looked_at(string architecture)
    {
        SystemCalls calls = Calls(architecture);
        Assert.All((int[])[calls.dup2, calls.dup3], number =>
        {
            Assert.Equal(number < 0 ? Allow : Notify, Run(architecture, number, 5, First));
            Assert.Equal(Allow, Run(architecture, number, First, 5));
        });
        Assert.Equal(Notify, Run(architecture, calls.close_range, 3, uint.MaxValue));
        Assert.Equal(Allow, Run(architecture, calls.close_range, 3, First - 1));
        Assert.Equal(Notify, Run(architecture, calls.execve, 0x1000));
        Assert.Equal(Notify, Run(architecture, calls.execveat, 5, 0x1000));
    }

    [Theory]
    [MemberData(nameof(Architectures))]
    public void A_regions_offset_is_recognised_on_any_descriptor(string architecture)
    {
        SystemCalls calls = Calls(architecture);
        Assert.Equal(Notify, Run(architecture, calls.pread64, 5, 0x1000, 4, Biased));
        Assert.Equal(Notify, Run(architecture, calls.pwrite64, 5, 0x1000, 4, Biased));
        Assert.Equal(Notify, Run(architecture, calls.mmap, 0, 0x1000, 3, 1, 5, Biased));
        Assert.Equal(Allow, Run(architecture, calls.pread64, 5, 0x1000, 4, 0x7fff_ffff_f000));
        Assert.Equal(Allow, Run(architecture, calls.mmap, 0, 0x1000, 3, 2, 5, 0x1000));
    }

    [Theory]
    [MemberData(nameof(Architectures))]
    public void An_anonymous_mapping_is_never_looked_at(string architecture) =>
        Assert.Equal(Allow, Run(architecture, Calls(architecture).mmap, 0, 0x1000, 3, 0x22, ulong.MaxValue, Biased));

    [Theory]
    [MemberData(nameof(Architectures))]
    public void A_write_to_descriptor_1_is_looked_at_while_it_could_be_a_sysfs_attribute(string architecture)
    {
        int write = Calls(architecture).write;
        Assert.Equal(Notify, Run(architecture, write, 1, 0x1000, SeccompFilter.ShortWrite));
        Assert.Equal(Allow, Run(architecture, write, 1, 0x1000, SeccompFilter.ShortWrite + 1));
        Assert.Equal(Allow, Run(architecture, write, 1, 0x1000, 1UL << 32));
        Assert.Equal(Allow, Run(architecture, write, 2, 0x1000, 8));
    }

    [Theory]
    [MemberData(nameof(Architectures))]
    public void All_other_calls_and_those_of_another_architecture_run_at_full_speed(string architecture)
    {
        SystemCalls calls = Calls(architecture);
        HashSet<int> named = [.. typeof(SystemCalls).GetProperties().Where(static property => property.PropertyType == typeof(int))
            .Select(property => (int)property.GetValue(calls)!)];
        for (int number = 0; number < 512; number++)
        {
            if (!named.Contains(number))
            {
                Assert.Equal(Allow, Run(architecture, number, First, 0x3b81, 64, Biased, First, Biased));
            }
        }

        Assert.Equal(Allow, new FilterMachine(SeccompFilter.Build(calls, First, End)).Run(0x40000003, calls.openat, 3)); // AUDIT_ARCH_I386
    }

    private static SystemCalls Calls(string architecture) => architecture == "arm64" ? SystemCalls.Arm64 : SystemCalls.X64;

    private static uint Run(string architecture, int number, params ReadOnlySpan<ulong> arguments)
    {
        SystemCalls calls = Calls(architecture);
        return new FilterMachine(SeccompFilter.Build(calls, First, End)).Run(calls.Architecture, number, arguments);
    }

    // The C preprocessor's opinion; null without one, or without the header.
    private static string? Preprocess(string source)
    {
        ProcessStartInfo start =
            new("gcc", ["-E", "-P", "-x", "c", "-"]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        try
        {
            using Process gcc = Process.Start(start)!;
            gcc.StandardInput.Write(source);
            gcc.StandardInput.Close();
            string text = gcc.StandardOutput.ReadToEnd();
            gcc.WaitForExit();
            return gcc.ExitCode == 0 ? text : null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
