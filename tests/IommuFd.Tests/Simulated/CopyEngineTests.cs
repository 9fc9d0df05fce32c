using CopyEngine;
using IommuFd.HwSim;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>The sample driver of the copy engine on the simulated one: the whole path from the file to the interrupt.</summary>
public sealed class CopyEngineTests : IDisposable
{
    private readonly SimulatedHost _machine = new(Topology.ByName("intel-scalable"));
    private readonly IommuHost _host;
    private readonly CopyEngineDevice _engine;

    public CopyEngineTests()
    {
        PciAddress address = PciAddress.Parse("0000:00:09.0");
        _host = IommuHost.Over(_machine);
        DriverBinder binder = new(_machine.Sysfs, new MemoryBindingStore());
        Assert.Null(binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci)));
        _engine = new CopyEngineDevice(_host, address);
    }

    public void Dispose()
    {
        _engine.Dispose();
        _host.Dispose();
        _machine.Dispose();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4096)]
    [InlineData(65537)]
    [InlineData((3 << 20) + 5)]
    public async Task What_is_copied_is_what_was_there(int length)
    {
        Mapping source = _engine.AllocateMemory((ulong)length + 8), destination = _engine.AllocateMemory((ulong)length + 8);
        new Random(length).NextBytes(source.Buffer.Span);
        foreach (CopyChannel channel in _engine.Channels)
        {
            destination.Buffer.Span.Clear();
            channel.Copy(source.Iova + 3, destination.Iova + 1, (ulong)length);
            Assert.True(source.Buffer.Slice(3, length).SequenceEqual(destination.Buffer.Slice(1, length)));
            Assert.Equal(0, destination.Buffer.Span[length + 1]);
            destination.Buffer.Span.Clear();
            await channel.CopyAsync(source.Iova, destination.Iova, (ulong)length, Limit());
            Assert.True(source.Buffer.Slice(0, length).SequenceEqual(destination.Buffer.Slice(0, length)));
        }
    }

    [Fact]
    public void A_pattern_fills_memory()
    {
        Mapping memory = _engine.AllocateMemory(8192);
        _engine.Channels[1].FillWith(0x0102030405060708, memory.Iova + 8, 4096);
        Assert.Equal(0ul, memory.Buffer.At<ulong>(0));
        Assert.Equal(0x0102030405060708ul, memory.Buffer.At<ulong>(8));
        Assert.Equal(0x0102030405060708ul, memory.Buffer.At<ulong>(4096));
        Assert.Equal(0ul, memory.Buffer.At<ulong>(4104));
    }

    [Fact]
    public async Task The_ring_and_its_count_go_round()
    {
        Mapping memory = _engine.AllocateMemory(8192);
        for (uint i = 0; i < 70_000; i++)
        {
            memory.Buffer.At<uint>(0) = i;
            _engine.Channels[0].Copy(memory.Iova, memory.Iova + 4096, 4);
            Assert.Equal(i, memory.Buffer.At<uint>(4096));
        }

        for (uint i = 0; i < 200; i++)
        {
            memory.Buffer.At<uint>(0) = i;
            await _engine.Channels[0].CopyAsync(memory.Iova, memory.Iova + 4096, 4, Limit());
            Assert.Equal(i, memory.Buffer.At<uint>(4096));
        }
    }

    [Fact]
    public void Memory_that_is_not_mapped_halts_the_channel_and_a_reset_brings_it_back()
    {
        Mapping memory = _engine.AllocateMemory(8192);
        Assert.Equal(0x100u, Assert.Throws<CopyEngineException>(() => _engine.Channels[2].Copy(0xdead_0000, memory.Iova, 64)).Error);
        Assert.Equal(0x200u, Assert.Throws<CopyEngineException>(() => _engine.Channels[2].Copy(memory.Iova, 0xdead_0000, 64)).Error);
        memory.Buffer.At<uint>(0) = 7;
        _engine.Channels[2].Copy(memory.Iova, memory.Iova + 64, 64);
        Assert.Equal(7u, memory.Buffer.At<uint>(64));
    }

    [Fact]
    public void An_engine_that_is_pulled_out_is_gone_at_once()
    {
        Mapping memory = _engine.AllocateMemory(4096);
        _machine.Device("0000:00:09.0")!.IsDisconnected = true;
        Assert.Contains("gone", Assert.Throws<IOException>(() => _engine.Channels[0].Copy(memory.Iova, memory.Iova + 2048, 64)).Message,
            StringComparison.Ordinal);
    }

    private static CancellationToken Limit() => new CancellationTokenSource(TimeSpan.FromSeconds(20)).Token;
}
