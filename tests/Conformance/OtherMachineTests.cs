using System.Diagnostics;
using Xunit;

namespace Conformance;

/// <summary>
/// The other machines of the simulator run all cases too, each in a process of its own; and each machine once more with every ioctl failing at
/// everything that can fail in it before it succeeds (<see cref="FailNthHost"/>).
/// </summary>
public sealed class OtherMachineTests
{
    private const string OnlyTheDefault = "this run is on one chosen machine (CONFORMANCE_HOST, CONFORMANCE_TOPOLOGY or CONFORMANCE_FAIL_NTH is set)";

    public static bool IsDefault =>
        !new[] { "CONFORMANCE_HOST", "CONFORMANCE_TOPOLOGY", "CONFORMANCE_FAIL_NTH" }.Any(
            static name => Environment.GetEnvironmentVariable(name) is not null);

    [Theory(Skip = OnlyTheDefault, SkipUnless = nameof(IsDefault))]
    [InlineData("intel-scalable")]
    [InlineData("intel-mapped")]
    [InlineData("amd")]
    [InlineData("arm-smmuv3")]
    [InlineData("riscv")]
    public void Every_case_holds_on_the_machine(string topology) => Run(topology, failNth: false);

    [Theory(Skip = OnlyTheDefault, SkipUnless = nameof(IsDefault))]
    [InlineData("intel")]
    [InlineData("intel-scalable")]
    [InlineData("amd")]
    [InlineData("arm-smmuv3")]
    [InlineData("riscv")]
    public void A_command_that_fails_leaves_nothing_behind_and_works_afterwards(string topology) => Run(topology, failNth: true);

    [Theory(Skip = OnlyTheDefault, SkipUnless = nameof(IsDefault))]
    [InlineData("no-iommu", "*.NoIommuTests")]
    [InlineData("legacy-vfio", "*.ContainerTests")]
    public void The_cases_that_are_for_it_hold_on_the_machine(string topology, string cases) => Run(topology, failNth: false, cases);

    private static void Run(string topology, bool failNth, string? cases = null)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
        {
            start.ArgumentList.Add(typeof(OtherMachineTests).Assembly.Location);
        }

        start.ArgumentList.Add("-noLogo");
        start.ArgumentList.Add("-noColor");
        start.ArgumentList.Add("-class-");
        start.ArgumentList.Add("*.OtherMachineTests");
        if (cases is not null)
        {
            start.ArgumentList.Add("-class");
            start.ArgumentList.Add(cases);
        }

        start.Environment["CONFORMANCE_TOPOLOGY"] = topology;
        if (failNth)
        {
            // The text of a random sequence has numbers that a failed call has used up.
            start.Environment["CONFORMANCE_FAIL_NTH"] = "1";
            start.ArgumentList.Add("-class-");
            start.ArgumentList.Add("*.RandomTests");
        }

        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"CONFORMANCE_TOPOLOGY={topology}{(failNth ? " CONFORMANCE_FAIL_NTH=1" : "")}:\n{output}");
    }
}
