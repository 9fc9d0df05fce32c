using System.Buffers.Binary;
using System.Text;
using IommuFd;
using IommuFd.Sysfs;

namespace NvmeDriver;

/// <summary>
/// A driver for an NVM Express controller and its first namespace: one I/O queue pair, transfers of one block to 1 MiB from and to <see cref="Buffer"/>. It runs
/// unchanged on the simulator, on QEMU and on hardware. Not for use by several threads.
/// </summary>
public sealed class NvmeDevice : IDisposable
{
    /// <summary>Bytes of <see cref="Buffer"/>.</summary>
    public const int BufferSize = 1 << 20;

    private const ulong Capabilities = 0x00, Configuration = 0x14, Status = 0x1c, AdminSizes = 0x24, AdminSubmission = 0x28, AdminCompletion = 0x30;
    private const int PageSize = 4096;
    private readonly Stack<IDisposable> _owned = new();
    private readonly Bar _registers;
    private readonly Mapping _mapping, _list;
    private readonly NvmeQueue _admin, _io;
    private readonly int _largest;

    /// <summary>Opens the controller, which is bound to a VFIO driver, and makes it ready.</summary>
    /// <param name="host">The machine.</param>
    /// <param name="address">The device.</param>
    /// <exception cref="IommuFdException">The device cannot be opened, bound or attached.</exception>
    /// <exception cref="NvmeException">The controller refuses a command.</exception>
    public NvmeDevice(IommuHost host, PciAddress address)
    {
        ArgumentNullException.ThrowIfNull(host);
        try
        {
            IommuContext context = Own(host.OpenContext());
            BoundDevice device = Own(host.OpenDevice(address).Bind(context, cookie: address.RequesterId));
            IoAddressSpace space = Own(context.CreateAddressSpace());
            _ = Own(device.Attach(space));
            Mapping Memory(ulong length) => Own(space.Map(Own(host.AllocateBuffer(length)), DmaAccess.ReadWrite));
            _mapping = Memory(BufferSize);
            _list = Memory(PageSize);
            Mapping admin = Memory(NvmeQueue.MemorySize), io = Memory(NvmeQueue.MemorySize);
            Own(device.OpenConfigSpace()).EnableBusMaster();
            _registers = Own(device.OpenBar(0));
            InterruptSet interrupts = Own(device.EnableInterrupts(InterruptKind.Msix, 2));

            Enable(false);
            _admin = new NvmeQueue(_registers, admin, 0, null);
            _registers.Write32(AdminSizes, (NvmeQueue.Entries - 1) | (NvmeQueue.Entries - 1) << 16);
            _registers.Write64(AdminSubmission, _admin.Submission);
            _registers.Write64(AdminCompletion, _admin.Completion);
            Enable(true);

            ReadOnlySpan<byte> controller = Identify(1, 0);
            Serial = Encoding.ASCII.GetString(controller.Slice(4, 20)).Trim();
            Model = Encoding.ASCII.GetString(controller.Slice(24, 40)).Trim();
            _largest = controller[77] is 0 or > 8 ? BufferSize : Math.Min(BufferSize, PageSize << controller[77]);
            ReadOnlySpan<byte> first = Identify(0, 1);
            Blocks = BinaryPrimitives.ReadUInt64LittleEndian(first);
            BlockSize = 1 << first[128 + (4 * (first[26] & 15)) + 2];

            _io = new NvmeQueue(_registers, io, 1, interrupts[1]);
            _ = _admin.Execute(new NvmeCommand { Opcode = 0x09, Dw10 = 7 });
            _ = _admin.Execute(new NvmeCommand { Opcode = 0x05, Prp1 = _io.Completion, Dw10 = 1 | (NvmeQueue.Entries - 1) << 16, Dw11 = 3 | 1 << 16 });
            _ = _admin.Execute(new NvmeCommand { Opcode = 0x01, Prp1 = _io.Submission, Dw10 = 1 | (NvmeQueue.Entries - 1) << 16, Dw11 = 1 | 1 << 16 });
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The controller's serial number.</summary>
    public string Serial { get; }

    /// <summary>The controller's model.</summary>
    public string Model { get; }

    /// <summary>Blocks of the namespace.</summary>
    public ulong Blocks { get; }

    /// <summary>Bytes of a block.</summary>
    public int BlockSize { get; }

    /// <summary>What is written and where reads arrive: 1 MiB.</summary>
    public DmaBuffer Buffer => _mapping.Buffer;

    /// <summary>Reads blocks into the beginning of <see cref="Buffer"/>, polling.</summary>
    /// <param name="block">The first block.</param>
    /// <param name="length">Bytes, a multiple of the block's size, at most 1 MiB.</param>
    public void Read(ulong block, int length) => Transfer(0x02, block, length);

    /// <summary>Writes the beginning of <see cref="Buffer"/> to blocks, polling.</summary>
    /// <inheritdoc cref="Read"/>
    public void Write(ulong block, int length) => Transfer(0x01, block, length);

    /// <summary>As <see cref="Read"/>, waiting for the interrupt.</summary>
    public ValueTask ReadAsync(ulong block, int length, CancellationToken cancellation = default) => TransferAsync(0x02, block, length, cancellation);

    /// <summary>As <see cref="Write"/>, waiting for the interrupt.</summary>
    public ValueTask WriteAsync(ulong block, int length, CancellationToken cancellation = default) => TransferAsync(0x01, block, length, cancellation);

    /// <summary>What was written is durable when this returns.</summary>
    public void Flush() => _ = _io.Execute(new NvmeCommand { Opcode = 0x00, Namespace = 1 });

    /// <inheritdoc/>
    public void Dispose()
    {
        // The controller stops before the memory of its queues goes.
        try
        {
            if (_admin is not null)
                Enable(false);
        }
        finally
        {
            while (_owned.TryPop(out IDisposable? owned))
                owned.Dispose();
        }
    }

    private void Transfer(byte opcode, ulong block, int length)
    {
        Check(length);
        for (int done = 0; done < length; done += _largest)
            _ = _io.Execute(Command(opcode, block, done, Math.Min(_largest, length - done)));
    }

    private async ValueTask TransferAsync(byte opcode, ulong block, int length, CancellationToken cancellation)
    {
        Check(length);
        for (int done = 0; done < length; done += _largest)
            _ = await _io.ExecuteAsync(Command(opcode, block, done, Math.Min(_largest, length - done)), cancellation).ConfigureAwait(false);
    }

    private void Check(int length)
    {
        if (length <= 0 || length > BufferSize || length % BlockSize != 0)
            throw new ArgumentOutOfRangeException(nameof(length), length, $"A transfer is a multiple of {BlockSize} bytes, at most {BufferSize}.");
    }

    // One page is in PRP1, a second one in PRP2, more are in a list (NVMe 1.4 section 4.3).
    private NvmeCommand Command(byte opcode, ulong block, int offset, int length)
    {
        ulong first = block + (ulong)(offset / BlockSize), data = _mapping.Iova + (ulong)offset;
        int pages = (length + PageSize - 1) / PageSize;
        for (int i = 1; i < pages && pages > 2; i++)
            _list.Buffer.At<ulong>((ulong)(i - 1) * 8) = data + (ulong)(i * PageSize);
        return new NvmeCommand
        {
            Opcode = opcode,
            Namespace = 1,
            Prp1 = data,
            Prp2 = pages switch { 1 => 0, 2 => data + PageSize, _ => _list.Iova },
            Dw10 = (uint)first,
            Dw11 = (uint)(first >> 32),
            Dw12 = (uint)(length / BlockSize) - 1,
        };
    }

    private ReadOnlySpan<byte> Identify(uint what, uint space)
    {
        _ = _admin.Execute(new NvmeCommand { Opcode = 0x06, Namespace = space, Prp1 = _mapping.Iova, Dw10 = what });
        return Buffer.Slice(0, PageSize);
    }

    private void Enable(bool on)
    {
        // Entries of 64 and 16 bytes, pages of 4 KiB. CAP.TO is the time that the controller may take, in 500 ms.
        _registers.Write32(Configuration, on ? 4u << 20 | 6u << 16 | 1 : 0);
        long end = Environment.TickCount64 + 500 + (500 * (long)(_registers.Read64(Capabilities) >> 24 & 0xff));
        for (uint status; ((status = _registers.Read32(Status)) & 1) != (on ? 1u : 0); Thread.Sleep(1))
        {
            if ((on && (status & 2) != 0) || Environment.TickCount64 > end)
                throw new IOException($"The controller does not become {(on ? "ready" : "idle")}: CSTS is 0x{status:x}.");
        }
    }

    private T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Push(owned);
        return owned;
    }
}
