using System.Security.Cryptography;
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
    private NvmeDevice? _device;

    public NvmeDriverTests() => _host = IommuHost.Over(_t.Host, leaveOpen: true);

    public void Dispose()
    {
        _device?.Dispose();
        _host.Dispose();
        _t.Dispose();
    }

    [Fact]
    public void The_namespace_is_16_MiB_of_512_byte_blocks()
    {
        NvmeDevice nvme = Open();
        Assert.Equal(512, nvme.BlockSize);
        Assert.Equal(32768ul, nvme.Blocks);
        Assert.Equal(512 << 10, nvme.MaximumTransfer);
        Assert.NotEmpty(nvme.Model);
        Assert.NotEmpty(nvme.Serial);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_is_written_is_read_back(bool sgl)
    {
        NvmeDevice nvme = Open(new NvmeOptions { Sgl = sgl, Interrupts = false });
        Assert.Equal(sgl, nvme.UsesSgl);
        Mapping memory = nvme.AllocateMemory(2 << 20);
        NvmeQueue queue = nvme.Queues[0];

        // One page, PRP2, lists, more than one command; from the beginning of a page and from inside one.
        foreach (int length in new[] { 512, 4096, 4096 + 512, 8192, 12288, 65536 + 512, 512 << 10, (512 << 10) + 512, 1 << 20 })
        {
            foreach (ulong offset in new ulong[] { 0, 516, 4096 - 512 })
            {
                byte[] data = new byte[length];
                new Random(length).NextBytes(data);
                data.CopyTo(memory.Buffer.Slice(offset, length));
                queue.Write(100, memory, offset, length);
                queue.Flush();
                memory.Buffer.Span.Fill(0xee);
                queue.Read(100, memory, offset, length);
                Assert.True(data.AsSpan().SequenceEqual(memory.Buffer.Slice(offset, length)), $"{length} bytes at {offset}");
                Assert.False(memory.Buffer.Slice(0, (int)offset).ContainsAnyExcept((byte)0xee));
                Assert.False(memory.Buffer.Slice(offset + (ulong)length, 4096).ContainsAnyExcept((byte)0xee));
            }
        }
    }

    [Fact]
    public void A_scatter_list_is_one_command()
    {
        NvmeDevice nvme = Open(new NvmeOptions { Interrupts = false });
        Mapping memory = nvme.AllocateMemory(1 << 20);
        NvmeQueue queue = nvme.Queues[0];
        DmaSegment[] pieces = new DmaSegment[128];
        for (int i = 0; i < pieces.Length; i++)
        {
            // From the end to the beginning, 64 bytes in every 4 KiB; the first piece is longer.
            pieces[i] = new DmaSegment(memory.Iova + ((ulong)(pieces.Length - 1 - i) * 4096), i == 0 ? 64 + 512u : 64);
            memory.Buffer.At<uint>((ulong)(pieces.Length - 1 - i) * 4096) = (uint)i;
        }

        queue.Write(7, pieces);
        queue.Read(7, memory, 1 << 19, 512 + (128 * 64));
        Assert.Equal(0u, memory.Buffer.At<uint>(1 << 19));
        for (int i = 1; i < pieces.Length; i++)
        {
            Assert.Equal((uint)i, memory.Buffer.At<uint>((1 << 19) + 512 + ((ulong)i * 64)));
        }

        memory.Buffer.Slice(0, 1 << 19).Clear();
        queue.Read(7, pieces);
        Assert.Equal(127u, memory.Buffer.At<uint>(0));
    }

    [Fact]
    public async Task The_queue_goes_round_with_interrupts()
    {
        NvmeDevice nvme = Open(new NvmeOptions { Depth = 7 });
        Mapping memory = nvme.AllocateMemory(4096);
        for (uint i = 0; i < 100; i++)
        {
            memory.Buffer.At<uint>(0) = i;
            await nvme.Queues[0].WriteAsync(i, memory, 0, 512);
            memory.Buffer.At<uint>(0) = ~0u;
            await nvme.Queues[0].ReadAsync(i, memory, 0, 512);
            Assert.Equal(i, memory.Buffer.At<uint>(0));
        }

        await nvme.Queues[0].FlushAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task More_transfers_than_a_queue_holds_wait_in_line(bool shadow)
    {
        NvmeDevice nvme = Open(new NvmeOptions { Depth = 5, ShadowDoorbells = shadow });
        Assert.Equal(shadow, nvme.UsesShadowDoorbells);
        Mapping memory = nvme.AllocateMemory(64 * 1024);
        for (uint i = 0; i < 64; i++)
        {
            memory.Buffer.At<uint>(i * 1024) = i + 1000;
        }

        await Task.WhenAll(Enumerable.Range(0, 64).Select(i => nvme.Queues[0].WriteAsync((ulong)i * 2, memory, (ulong)i * 1024, 1024).AsTask()));
        memory.Buffer.Span.Clear();
        await Task.WhenAll(
            Enumerable.Range(0, 64).Reverse().Select(i => nvme.Queues[0].ReadAsync((ulong)i * 2, memory, (ulong)i * 1024, 1024).AsTask()));
        for (uint i = 0; i < 64; i++)
        {
            Assert.Equal(i + 1000, memory.Buffer.At<uint>(i * 1024));
        }

        Assert.Equal(0, nvme.Queues[0].Running);
    }

    [Fact]
    public async Task Queue_pairs_work_at_the_same_time()
    {
        NvmeDevice nvme = Open(new NvmeOptions { Queues = 4, Depth = 8 });
        Assert.Equal(4, nvme.Queues.Count);
        Mapping[] buffers = [.. nvme.Queues.Select(_ => nvme.AllocateMemory(16384))];
        await Task.WhenAll(nvme.Queues.Select(queue => Task.Run(async () =>
        {
            Mapping memory = buffers[queue.Id - 1];
            ulong first = (ulong)queue.Id * 4096;
            for (uint i = 0; i < 20; i++)
            {
                memory.Buffer.At<ulong>(0) = first + i;
                memory.Buffer.At<ulong>(16376) = ~(first + i);
                await queue.WriteAsync(first + (i * 32), memory, 0, 16384);
            }

            for (uint i = 0; i < 20; i++)
            {
                await queue.ReadAsync(first + (i * 32), memory, 0, 16384);
                Assert.Equal((first + i, ~(first + i)), (memory.Buffer.At<ulong>(0), memory.Buffer.At<ulong>(16376)));
            }
        })));
    }

    [Fact]
    public void A_block_beyond_the_end_is_LBA_Out_of_Range_and_the_queue_goes_on()
    {
        NvmeDevice nvme = Open(new NvmeOptions { Interrupts = false });
        Mapping memory = nvme.AllocateMemory(1 << 20);
        NvmeQueue queue = nvme.Queues[0];
        Assert.Equal(0x80, Assert.Throws<NvmeException>(() => queue.Read(nvme.Blocks, memory, 0, 512)).Status);
        queue.Read(nvme.Blocks - 1, memory, 0, 512);

        // The second command of two.
        Assert.Equal(0x80, Assert.Throws<NvmeException>(() => queue.Read(nvme.Blocks - 1024, memory, 0, 1 << 20)).Status);
        queue.Read(nvme.Blocks - 2048, memory, 0, 1 << 20);
        Assert.Equal(0, queue.Running);
    }

    [Fact]
    public void Memory_that_is_not_mapped_is_Data_Transfer_Error_and_the_queue_goes_on()
    {
        TestHost.Need(!_t.IsKernel, "QEMU's controller is not told that the IOMMU refused its data, and completes the command");
        NvmeDevice nvme = Open(new NvmeOptions { Interrupts = false });
        Mapping memory = nvme.AllocateMemory(4096), gone = nvme.AllocateMemory(1 << 20);
        gone.Dispose();
        Assert.Equal(4, Assert.Throws<NvmeException>(() => nvme.Queues[0].Read(0, gone, 0, 4096)).Status);
        nvme.Queues[0].Read(0, memory, 0, 4096);
    }

    [Fact]
    public void A_transfer_that_makes_no_sense_is_refused_before_the_device_sees_it()
    {
        NvmeDevice nvme = Open(new NvmeOptions { Interrupts = false });
        Mapping memory = nvme.AllocateMemory(4096);
        Assert.Throws<ArgumentOutOfRangeException>(() => nvme.Queues[0].Read(0, memory, 0, 100));
        Assert.Throws<ArgumentOutOfRangeException>(() => nvme.Queues[0].Read(0, memory, 2, 512));
        Assert.Throws<ArgumentOutOfRangeException>(() => nvme.Queues[0].Read(0, memory, 4096, 512));
        Assert.Throws<ArgumentOutOfRangeException>(() => nvme.Queues[0].Write(0, memory, 0, 8192));
    }

    [Fact]
    public async Task A_reset_ends_what_is_under_way_and_the_queues_work_again()
    {
        NvmeDevice nvme = Open(new NvmeOptions { Interrupts = false, ShadowDoorbells = true });
        Mapping memory = nvme.AllocateMemory(4096);
        memory.Buffer.At<uint>(0) = 0x5eed;
        nvme.Queues[0].Write(3, memory, 0, 512);
        Task open = nvme.Queues[0].ReadAsync(3, memory, 0, 512).AsTask(); // nobody polls
        nvme.Reset();
        Assert.Contains("reset", (await Assert.ThrowsAsync<IOException>(() => open)).Message, StringComparison.Ordinal);
        memory.Buffer.At<uint>(0) = 0;
        nvme.Queues[0].Read(3, memory, 0, 512);
        Assert.Equal(0x5eedu, memory.Buffer.At<uint>(0));
    }

    [Fact]
    public async Task Dispose_ends_what_is_under_way()
    {
        NvmeDevice nvme = Open(new NvmeOptions { Interrupts = false, Depth = 2 });
        Mapping memory = nvme.AllocateMemory(4096);
        Task[] open = [.. Enumerable.Range(0, 6).Select(i => nvme.Queues[0].ReadAsync((ulong)i, memory, 0, 512).AsTask())];
        nvme.Dispose();
        foreach (Task task in open)
        {
            await Assert.ThrowsAsync<ObjectDisposedException>(() => task);
        }

        await Assert.ThrowsAsync<ObjectDisposedException>(() => nvme.Queues[0].ReadAsync(0, memory, 0, 512).AsTask());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_transfer_allocates_nothing(bool shadow)
    {
        NvmeDevice nvme = Open(new NvmeOptions { Interrupts = false, ShadowDoorbells = shadow });
        Mapping memory = nvme.AllocateMemory(1 << 20);
        NvmeQueue queue = nvme.Queues[0];
        Run(50);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Run(200);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Run(int rounds)
        {
            for (int i = 0; i < rounds; i++)
            {
                queue.Write(8, memory, 0, 4096);
                queue.Read(8, memory, 0, 512);
                queue.Read(8, memory, 512, 16384);
                ValueTask first = queue.ReadAsync(8, memory, 0, 4096), second = queue.WriteAsync(16, memory, 0, 4096);
                while (!first.IsCompleted || !second.IsCompleted)
                {
                    _ = queue.Poll();
                }

                first.GetAwaiter().GetResult();
                second.GetAwaiter().GetResult();
            }
        }
    }

    /// <summary>HWSIM_FULL=1: 1 GiB, else 64 MiB (16 MiB under a real kernel, which is emulated).</summary>
    [Fact]
    public async Task Much_data_goes_through_with_its_checksums()
    {
        const int Chunk = 1 << 20, Under = 4;
        bool full = Environment.GetEnvironmentVariable("HWSIM_FULL") == "1";
        int rounds = full ? 64 : _t.IsKernel ? 1 : 4;
        NvmeDevice nvme = Open(new NvmeOptions { Queues = 2, Depth = 16, ShadowDoorbells = true });
        Mapping[] memory = [.. Enumerable.Range(0, Under).Select(_ => nvme.AllocateMemory(Chunk))];
        for (int round = 0; round < rounds; round++)
        {
            byte[][] sums = new byte[16][];
            for (int start = 0; start < 16; start += Under)
            {
                await Task.WhenAll(Enumerable.Range(0, Under).Select(i =>
                {
                    int chunk = start + i;
                    new Random((round * 16) + chunk).NextBytes(memory[i].Buffer.Span);
                    sums[chunk] = SHA256.HashData(memory[i].Buffer.Span);
                    return nvme.Queues[chunk % nvme.Queues.Count].WriteAsync((ulong)chunk * 2048, memory[i], 0, Chunk).AsTask();
                }));
            }

            for (int start = 0; start < 16; start += Under)
            {
                await Task.WhenAll(Enumerable.Range(0, Under).Select(i =>
                {
                    memory[i].Buffer.Span.Clear();
                    return nvme.Queues[(i + 1) % nvme.Queues.Count].ReadAsync((ulong)(start + i) * 2048, memory[i], 0, Chunk).AsTask();
                }));
                for (int i = 0; i < Under; i++)
                {
                    Assert.Equal(sums[start + i], SHA256.HashData(memory[i].Buffer.Span));
                }
            }
        }
    }

    private NvmeDevice Open(NvmeOptions? options = null) => _device = new NvmeDevice(_host, PciAddress.Parse(_t.BindVfio(_t.Nvme)), options);
}
