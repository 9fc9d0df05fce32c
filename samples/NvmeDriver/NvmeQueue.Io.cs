using IommuFd;

namespace NvmeDriver;

// Commands and their data pointers: PRP entries (NVMe 1.4 section 4.3) or SGL descriptors (section 4.4).
public sealed partial class NvmeQueue
{
    private const int PageSize = 4096;

    /// <summary>Reads blocks into memory, asking until it is done.</summary>
    /// <param name="block">The first block.</param>
    /// <param name="memory">Memory in the device's address space (<see cref="NvmeDevice.AllocateMemory"/>, or mapped in <see cref="NvmeDevice.Space"/>).</param>
    /// <param name="offset">Where in it, a multiple of 4.</param>
    /// <param name="length">Bytes, a multiple of the block's size.</param>
    /// <exception cref="NvmeException">The controller refused or failed.</exception>
    /// <exception cref="IOException">The controller is gone or has stopped.</exception>
    public void Read(ulong block, Mapping memory, ulong offset, int length) => _ = Finish(Begin(NvmeCommand.Read, block, memory, offset, length, awaited: false));

    /// <summary>Writes memory to blocks, asking until it is done.</summary>
    /// <inheritdoc cref="Read"/>
    public void Write(ulong block, Mapping memory, ulong offset, int length) => _ = Finish(Begin(NvmeCommand.Write, block, memory, offset, length, awaited: false));

    /// <summary>Starts reading. The task ends by the queue's interrupt, or in a call of <see cref="Poll"/>; until then the device owns the memory.</summary>
    /// <inheritdoc cref="Read"/>
    public ValueTask ReadAsync(ulong block, Mapping memory, ulong offset, int length) => Begin(NvmeCommand.Read, block, memory, offset, length, awaited: true).Task;

    /// <summary>Starts writing; see <see cref="ReadAsync"/>.</summary>
    /// <inheritdoc cref="Read"/>
    public ValueTask WriteAsync(ulong block, Mapping memory, ulong offset, int length) => Begin(NvmeCommand.Write, block, memory, offset, length, awaited: true).Task;

    /// <summary>Reads blocks into several pieces of memory with one command; needs a controller with SGLs.</summary>
    /// <param name="block">The first block.</param>
    /// <param name="segments">1 to 128 pieces by their addresses in <see cref="NvmeDevice.Space"/>; together a multiple of the block's size, at most one command's.</param>
    /// <exception cref="NotSupportedException">The controller has no SGLs.</exception>
    public void Read(ulong block, ReadOnlySpan<DmaSegment> segments) => _ = Finish(Begin(NvmeCommand.Read, block, segments));

    /// <summary>Writes several pieces of memory to blocks with one command.</summary>
    /// <inheritdoc cref="Read(ulong, ReadOnlySpan{DmaSegment})"/>
    public void Write(ulong block, ReadOnlySpan<DmaSegment> segments) => _ = Finish(Begin(NvmeCommand.Write, block, segments));

    /// <summary>What was written is durable when this returns.</summary>
    public void Flush() => _ = Execute(new NvmeCommand { Opcode = NvmeCommand.Flush, Namespace = 1 });

    /// <summary>What was written is durable when the task ends.</summary>
    public ValueTask FlushAsync()
    {
        NvmeRequest request = Begin(new NvmeCommand { Opcode = NvmeCommand.Flush, Namespace = 1 }, awaited: true);
        return request.Task;
    }

    /// <summary>Executes a command as it is.</summary>
    internal uint Execute(in NvmeCommand command) => Finish(Begin(command, awaited: false));

    private NvmeRequest Begin(in NvmeCommand command, bool awaited)
    {
        NvmeRequest request = Rent(awaited);
        (request.Command, request.Left, request.Block) = (command, 0, 0);
        Enqueue(request);
        return request;
    }

    private NvmeRequest Begin(byte opcode, ulong block, Mapping memory, ulong offset, int length, bool awaited)
    {
        ArgumentNullException.ThrowIfNull(memory);
        if (length <= 0 || length % _device.BlockSize != 0)
            throw new ArgumentOutOfRangeException(nameof(length), length, $"A transfer is a multiple of {_device.BlockSize} bytes.");
        if (offset % 4 != 0 || offset > memory.Length || (ulong)length > memory.Length - offset)
            throw new ArgumentOutOfRangeException(nameof(offset), offset, $"{length} bytes do not lie in the {memory.Length} that are mapped, at a multiple of 4.");
        NvmeRequest request = Rent(awaited);
        request.Command = new NvmeCommand { Opcode = opcode, Namespace = 1 };
        (request.Address, request.Left, request.Block) = (memory.Iova + offset, length, block);
        Enqueue(request);
        return request;
    }

    private NvmeRequest Begin(byte opcode, ulong block, ReadOnlySpan<DmaSegment> segments)
    {
        if (!_device.HasSgl)
            throw new NotSupportedException("The controller has no SGLs: a transfer needs memory that is one piece for the device.");
        ulong length = 0;
        foreach (DmaSegment segment in segments)
            length += segment.Length;
        if (segments.Length is 0 or > ListSize / 16 || length == 0 || length > (ulong)_device.MaximumTransfer || length % (ulong)_device.BlockSize != 0)
            throw new ArgumentException($"1 to {ListSize / 16} pieces of together at most {_device.MaximumTransfer} bytes, a multiple of {_device.BlockSize}.", nameof(segments));
        NvmeRequest request = Rent(awaited: false);
        request.Command = new NvmeCommand { Opcode = opcode, Namespace = 1, Flags = NvmeCommand.UsesSgl };
        (request.Segments, request.Left, request.Block) = (segments.ToArray(), (int)length, block);
        Enqueue(request);
        return request;
    }

    // The next command of a request, with its list in the slot's own memory.
    private NvmeCommand NextCommand(NvmeRequest request, int slot)
    {
        NvmeCommand command = request.Command;
        if (request.Left == 0)
            return command;
        int length = Math.Min(request.Left, _device.MaximumTransfer);
        command.Dw10 = (uint)request.Block;
        command.Dw11 = (uint)(request.Block >> 32);
        command.Dw12 = (uint)(length / _device.BlockSize) - 1;
        ulong list = _lists + ((ulong)slot * ListSize);
        if (request.Segments is { } segments)
        {
            for (int i = 0; i < segments.Length; i++)
                (_memory.Buffer.At<ulong>(list + (16 * (ulong)i)), _memory.Buffer.At<ulong>(list + (16 * (ulong)i) + 8)) = (segments[i].Iova, segments[i].Length);

            // A last segment: type 3 in the upper half of the descriptor's last byte.
            (command.Prp1, command.Prp2) = (_memory.Iova + list, (16 * (ulong)segments.Length) | 3UL << 60);
        }
        else if (_device.UsesSgl)
        {
            command.Flags |= NvmeCommand.UsesSgl;
            (command.Prp1, command.Prp2) = (request.Address, (ulong)length);
        }
        else
        {
            SetPrp(ref command, request.Address, length, list);
        }

        request.Address += (ulong)length;
        request.Block += (ulong)(length / _device.BlockSize);
        request.Left -= length;
        return command;
    }

    // The first page, whole or not, is in PRP1; a second one in PRP2; more are in a list.
    private void SetPrp(ref NvmeCommand command, ulong address, int length, ulong list)
    {
        command.Prp1 = address;
        int left = length - (PageSize - (int)(address % PageSize));
        if (left <= 0)
            return;
        ulong page = (address & ~(PageSize - 1UL)) + PageSize;
        if (left <= PageSize)
        {
            command.Prp2 = page;
            return;
        }

        command.Prp2 = _memory.Iova + list;
        Span<ulong> entries = _memory.Buffer.Slice<ulong>(list, (left + PageSize - 1) / PageSize);
        for (int i = 0; i < entries.Length; i++)
            entries[i] = page + (ulong)(i * PageSize);
    }
}
