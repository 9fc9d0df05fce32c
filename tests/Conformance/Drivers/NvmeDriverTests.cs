using IommuFd;
using IommuFd.Sysfs;
using NvmeDriver;
using Xunit;

namespace Conformance.Drivers;

/// <summary>The sample driver on the simulated controller and on QEMU's, through the same source.</summary>
public sealed class NvmeDriverTests : IDisposable
{
    private readonly TestHost _t = new();
    private readonly IommuHost _host;
    private readonly NvmeDevice _nvme;

    public NvmeDriverTests()
    {
        _host = IommuHost.Over(_t.Host);
        _nvme = new NvmeDevice(_host, PciAddress.Parse(_t.BindVfio(_t.Nvme)));
    }

    public void Dispose()
    {
        _nvme.Dispose();
        _host.Dispose();
        _t.Dispose();
    }

    [Fact]
    public void The_namespace_is_16_MiB_of_512_byte_blocks()
    {
        Assert.Equal(512, _nvme.BlockSize);
        Assert.Equal(32768ul, _nvme.Blocks);
        Assert.NotEmpty(_nvme.Model);
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    [InlineData(8192)]
    [InlineData(12288)]
    [InlineData(65536 + 512)]
    [InlineData(512 << 10)]
    [InlineData(1 << 20)]
    public async Task What_is_written_is_read_back(int length)
    {
        byte[] data = new byte[length];
        new Random(length).NextBytes(data);
        data.CopyTo(_nvme.Buffer.Span);
        _nvme.Write(100, length);
        _nvme.Flush();
        _nvme.Buffer.Span.Clear();
        _nvme.Read(100, length);
        Assert.True(data.AsSpan().SequenceEqual(_nvme.Buffer.Slice(0, length)));
        _nvme.Buffer.Span.Clear();
        await _nvme.ReadAsync(100, length, TestContext.Current.CancellationToken);
        Assert.True(data.AsSpan().SequenceEqual(_nvme.Buffer.Slice(0, length)));
    }

    [Fact]
    public async Task The_queue_goes_round_with_interrupts()
    {
        for (uint i = 0; i < 200; i++)
        {
            _nvme.Buffer.At<uint>(0) = i;
            await _nvme.WriteAsync(i, 512, TestContext.Current.CancellationToken);
            _nvme.Buffer.At<uint>(0) = ~0u;
            await _nvme.ReadAsync(i, 512, TestContext.Current.CancellationToken);
            Assert.Equal(i, _nvme.Buffer.At<uint>(0));
        }
    }

    [Fact]
    public void A_block_beyond_the_end_is_LBA_Out_of_Range()
    {
        Assert.Equal(0x80, Assert.Throws<NvmeException>(() => _nvme.Read(_nvme.Blocks, 512)).Status);
        _nvme.Read(_nvme.Blocks - 1, 512);
    }
}
