using IommuFd.Tests;
using Xunit;

namespace VfioCli.Tests;

/// <summary>A C program written against the proposal's header, compiled by gcc and run unmodified on the simulated machine 'rfc'.</summary>
public sealed class RfcProgramTests
{
    [Fact]
    [Trait("rfc", "4.3")]
    [Trait("rfc", "1.1-shadow-follows")]
    [Trait("rfc", "NUMBERS")]
    public async Task Flow_4_3_in_C_with_both_numberings()
    {
        using CProgram program = await CProgram.Compile("samples/RfcFlows/c/flow43.c", "-I", Path.Combine(Repository.Root ?? "", "tests/uapi/rfc"));
        var (status, output, error) = await program.UnderSimulator("rfc");
        Assert.True(status == 0 && output.Contains("flow 4.3: ok", StringComparison.Ordinal), output + error);
    }
}
