using Xunit;

namespace VfioCli.Tests;

/// <summary>The numbers of the machine's files in a program begin and end as those of any file: the host's own /dev/urandom is the judge.</summary>
public sealed class SimRunNumberTests
{
    private const string RNDGETENTCNT = "0x80045200", IOMMU_IOAS_ALLOC = "0x3b81";

    [Fact]
    public async Task A_number_leads_to_a_file_exactly_as_long_as_a_file_of_the_host()
    {
        using CProgram program = await CProgram.Compile("tests/VfioCli.Tests/Programs/numbers.c");
        var host = await CProgram.Run(program.Path, "/dev/urandom", RNDGETENTCNT);
        Assert.Equal(18, host.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        var machine = await program.UnderSimulator("intel", "/dev/iommu", IOMMU_IOAS_ALLOC);
        Assert.Equal(host.Output, machine.Output);
    }
}
