using IommuFd.HwSim;
using Xunit;

namespace HwSim.Tests.Kernel.Load;

/// <summary>Two machines in one process, eight threads each. Two seconds; HWSIM_FULL=1 takes a minute.</summary>
public sealed class LoadTests(ITestOutputHelper output)
{
    private static readonly TimeSpan Time = TimeSpan.FromSeconds(Environment.GetEnvironmentVariable("HWSIM_FULL") == "1" ? 60 : 2);

    [Fact]
    public void Two_machines_with_eight_threads_each_leave_nothing_behind_and_do_not_grow()
    {
        using var intel = new SimulatedHost(Topology.ByName("intel"));
        using var scalable = new SimulatedHost(Topology.ByName("intel-scalable"));
        SimulatedHost[] hosts = [intel, scalable];
        foreach (SimulatedHost host in hosts)
        {
            var calls = new SeamCalls(host);
            Array.ForEach([SeamCalls.Edu, SeamCalls.Nvme, SeamCalls.PairA, SeamCalls.PairB], calls.BindToVfio);
        }

        string[] idle = [.. hosts.Select(static host => host.DescribeHoldings())];

        // Pools and tables that are kept are as large after the first quarter as they get.
        _ = Load(hosts, Time / 4);
        long managed = GC.GetTotalMemory(forceFullCollection: true);
        ulong[] tables = [.. hosts.Select(static host => host.Memory.AllocatedBytes)];
        long rounds = Load(hosts, Time * 3 / 4);
        long growth = GC.GetTotalMemory(forceFullCollection: true) - managed;
        output.WriteLine(
            $"{rounds} rounds of 16 threads, managed memory grew by {growth} bytes, table memory "
            + $"{string.Join(" and ", hosts.Select(static h => h.Memory.AllocatedBytes))} bytes");
        Assert.Equal(idle, hosts.Select(static host => host.DescribeHoldings()));
        Assert.Equal(tables, hosts.Select(static host => host.Memory.AllocatedBytes));
        Assert.True(growth < 4 << 20, $"managed memory grew by {growth} bytes in {rounds} rounds");
    }

    private static long Load(SimulatedHost[] hosts, TimeSpan time)
    {
        LoadThreads[] loads = [.. hosts.Select(host => new LoadThreads(host, time))];
        Array.ForEach(loads, static load => load.Start());
        Array.ForEach(loads, static load => load.Join());
        return loads.Sum(static load => load.Rounds);
    }
}
