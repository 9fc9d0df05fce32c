using CommandLine;
using IommuFd;

namespace NvmeDriver;

/// <summary>Options of nvme-cat.</summary>
[Verb("cat", HelpText = "nvme-cat: copies blocks of the first namespace to standard output, or standard input to blocks.")]
internal sealed class CatOptions : DeviceOptions
{
    [Option('b', "block", Default = 0ul, HelpText = "The first block.")]
    public ulong Block { get; set; }

    [Option('n', "bytes", HelpText = "Bytes to copy; a multiple of the block's size. Without it: one block, or with --write all of the input, filled up with zeroes.")]
    public long? Bytes { get; set; }

    [Option('w', "write", HelpText = "Copy standard input to the blocks, and flush.")]
    public bool Write { get; set; }
}

/// <summary>Copies blocks, 1 MiB at a time.</summary>
internal static class NvmeCat
{
    private const int Chunk = 1 << 20;

    public static int Run(CatOptions options)
    {
        using IommuHost host = options.OpenHost(out IommuFd.Sysfs.PciAddress address);
        using NvmeDevice device = new(host, address, new NvmeOptions { Interrupts = false, Sgl = options.Sgl, ShadowDoorbells = options.Shadow });
        Console.Error.WriteLine($"{device.Model} ({device.Serial}): {device.Blocks} blocks of {device.BlockSize} bytes");
        Mapping memory = device.AllocateMemory(Chunk);
        NvmeQueue queue = device.Queues[0];
        long left = options.Bytes ?? (options.Write ? long.MaxValue : device.BlockSize);
        if (left <= 0 || (left != long.MaxValue && left % device.BlockSize != 0))
            throw new ArgumentException($"--bytes {left} is not a multiple of the block's size, {device.BlockSize}.");
        using Stream stream = options.Write ? Console.OpenStandardInput() : Console.OpenStandardOutput();
        for (ulong block = options.Block; left > 0;)
        {
            int length = (int)Math.Min(left, Chunk);
            Span<byte> bytes = memory.Buffer.Slice(0, length);
            if (options.Write)
            {
                int read = stream.ReadAtLeast(bytes, length, throwOnEndOfStream: false);
                left = read < length ? 0 : left - length;
                length = (read + device.BlockSize - 1) / device.BlockSize * device.BlockSize;
                if (length == 0)
                    break;
                bytes[read..length].Clear();
                queue.Write(block, memory, 0, length);
            }
            else
            {
                queue.Read(block, memory, 0, length);
                stream.Write(bytes);
                left -= length;
            }

            block += (ulong)(length / device.BlockSize);
        }

        if (options.Write)
            queue.Flush();
        return 0;
    }
}
