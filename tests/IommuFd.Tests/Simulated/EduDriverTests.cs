using EduDriver;

namespace IommuFd.Tests;

/// <summary>The sample driver over /dev/iommu.</summary>
public sealed class EduDriverOverIommufdTests() : EduDriverTests("intel")
{
    [Fact]
    public void The_context_is_iommufd() => Assert.Equal(ContextKind.Iommufd, Edu.Space.Context.Kind);
}

/// <summary>The same driver, unchanged, on a kernel that has groups and containers only.</summary>
public sealed class EduDriverOverContainersTests() : EduDriverTests("legacy-vfio")
{
    [Fact]
    public void The_context_is_over_containers_and_says_what_it_cannot_do()
    {
        Assert.Equal(ContextKind.Container, Edu.Space.Context.Kind);
        Assert.Equal(FailureCause.CommandUnknown, Assert.Throws<IommuFdException>(() => Edu.Space.Context.AllocateIoas()).Cause);
        Assert.Equal(FailureCause.NotSupported, Assert.Throws<IommuFdException>(() => Edu.Space.Ioas.Id).Cause);
    }
}

/// <summary>The sample driver on the simulated device: the whole path from the file to the interrupt.</summary>
public abstract class EduDriverTests : IDisposable
{
    private readonly Simulated _machine;
    private readonly EduDevice _edu;

    protected EduDriverTests(string topology)
    {
        _machine = new Simulated(topology);
        _edu = new EduDevice(_machine.Host, Simulated.Edu);
    }

    protected EduDevice Edu => _edu;

    public void Dispose()
    {
        _edu.Dispose();
        _machine.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public void Identifies_itself_and_is_alive()
    {
        Assert.Equal((1, 0), _edu.Version);
        Assert.True(_edu.IsAlive());
    }

    [Theory]
    [InlineData(0u, 1u)]
    [InlineData(5u, 120u)]
    [InlineData(12u, 479001600u)]
    [InlineData(13u, 1932053504u)]
    public async Task Computes_factorials_with_and_without_an_interrupt(uint n, uint expected)
    {
        Assert.Equal(expected, await _edu.FactorialAsync(n, Limit()));
        Assert.Equal(expected, _edu.Factorial(n));
    }

    [Fact]
    public async Task Moves_bytes_out_and_back_through_the_IOMMU()
    {
        Random random = new(1);
        random.NextBytes(_edu.Buffer.Slice(0, 2048));
        await _edu.ReadMemoryAsync(_edu.BufferIova, 2048, Limit());
        await _edu.WriteMemoryAsync(_edu.BufferIova + 2048, 2048, Limit());
        Assert.True(_edu.Buffer.Slice(0, 2048).SequenceEqual(_edu.Buffer.Slice(2048, 2048)));
    }

    [Fact]
    public async Task An_unmapped_IOVA_is_not_reached()
    {
        using DmaBuffer other = _machine.Host.AllocateBuffer(4096);
        other.Span.Fill(0x5a);
        Mapping mapping = _edu.Space.Map(other, DmaAccess.ReadWrite);
        ulong iova = mapping.Iova;
        mapping.Dispose();
        await _edu.WriteMemoryAsync(iova, 64, Limit());
        Assert.False(other.Span.ContainsAnyExcept((byte)0x5a));
    }

    [Fact]
    public async Task A_read_only_mapping_is_not_written()
    {
        using DmaBuffer other = _machine.Host.AllocateBuffer(4096);
        other.Span.Fill(0x5a);
        using Mapping mapping = _edu.Space.Map(other, DmaAccess.Read);
        await _edu.ReadMemoryAsync(mapping.Iova, 64, Limit());
        await _edu.WriteMemoryAsync(mapping.Iova + 64, 64, Limit());
        Assert.False(other.Span.ContainsAnyExcept((byte)0x5a));
    }

    [Fact]
    public async Task Raises_its_interrupt_by_hand_a_thousand_times()
    {
        for (int i = 0; i < 1000; i++)
        {
            await _edu.InterruptSelfAsync(Limit());
        }
    }

    [Fact]
    public void A_second_driver_on_the_same_device_is_refused()
    {
        IommuFdException refused = Assert.Throws<IommuFdException>(() => new EduDevice(_machine.Host, Simulated.Edu));
        Assert.NotEmpty(refused.Explanation);
    }

    private static CancellationToken Limit() => new CancellationTokenSource(TimeSpan.FromSeconds(20)).Token;
}
