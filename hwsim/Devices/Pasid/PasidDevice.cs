using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Devices.Pasid;

/// <summary>
/// A test device (1234:a51d) whose 16 channels do DMA with a PASID of their own, keep translations (ATS) and ask for missing pages (PRI). It is this
/// project's own; PASID, ATS and page requests are those of the PCI Express base specification 6.0, chapter 10 and sections 7.8.8, 7.8.9 and 10.5.1.
/// </summary>
/// <remarks>
/// BAR 0: a page of registers for each channel (<see cref="PasidRegister"/>), then a page of buffer for each, from <see cref="Buffers"/> on. BAR 2:
/// MSI-X, a vector for each channel. A command runs when it is written; one that waits for a page goes on when the answer comes, on a thread of its
/// own or when the status is read. Does not model: requests with execute or privileged mode, stop markers, more than one page request of a channel at
/// a time, a limit on outstanding requests, AER.
/// </remarks>
public sealed unsafe partial class PasidDevice : PciDevice, IDeviceTlb
{
    /// <summary>How many channels there are.</summary>
    public const int Channels = 16;

    /// <summary>Offset of the channels' buffers in BAR 0.</summary>
    public const ulong Buffers = Channels * PageSize;

    private const int PageSize = 4096;
    private readonly byte[] _buffers = GC.AllocateArray<byte>(Channels * PageSize, pinned: true);
    private readonly Channel[] _channels;
    private readonly int _ats, _pri, _pasid;

    /// <summary>The device after power-on.</summary>
    /// <param name="pasidBits">Width of its PASIDs, 1 to 20.</param>
    /// <param name="hasAts">With a translation cache (ATS).</param>
    /// <param name="hasPri">With page requests (PRI); they need ATS.</param>
    public PasidDevice(int pasidBits = 20, bool hasAts = true, bool hasPri = true)
        : base(new PciIdentity(0x1234, 0xa51d, 0x00ff00, 1, 0x1af4, 0x1100), 4096)
    {
        _channels = [.. Enumerable.Range(0, Channels).Select(i => new Channel(this, i))];
        AddBar(new PciBar(0, 2 * Channels * PageSize));
        AddBar(new PciBar(2, PageSize));
        AddMsix(Channels, 2, 0);
        int express = Config.AddCapability(0x10, 0x3c);
        Config.Set16(express + 2, 0x92);
        Config.Set32(express + 4, 0x1000_8020);
        Config.Writable(express + 8, 2, 0x7eff);
        Config.Writable(express + 0x28, 2, 0x3f);
        _pasid = Config.AddExtendedCapability(0x1b, 1, 8);
        Config.Set16(_pasid + 4, (ushort)(pasidBits << 8));
        Config.Writable(_pasid + 6, 2, 1);
        if (hasAts)
        {
            _ats = Config.AddExtendedCapability(0xf, 1, 8);
            Config.Set16(_ats + 4, 0x60); // a queue of 32 invalidations, aligned requests, global invalidation
            Config.Writable(_ats + 6, 2, 0x801f);
        }

        if (hasAts && hasPri)
        {
            _pri = Config.AddExtendedCapability(0x13, 1, 16);
            Config.Set16(_pri + 6, 0x8100); // stopped; answers carry the PASID
            Config.Set32(_pri + 8, Channels);
            Config.Writable(_pri + 4, 2, 1);
            Config.Writable(_pri + 12, 4, ~0u);
        }
    }

    private bool HasPasid => (Config.Read(_pasid + 6, 2) & 1) != 0;

    private bool HasAts => _ats != 0 && (Config.Read(_ats + 6, 2) & 0x8000) != 0;

    private bool HasPri => _pri != 0 && (Config.Read(_pri + 4, 2) & 1) != 0;

    /// <inheritdoc/>
    protected override ulong OnReadBar(int bar, ulong offset, int bytes)
    {
        if (bar != 0)
            return 0;
        if (offset >= Buffers)
        {
            ulong value = 0;
            // SAFETY: the offset was checked against the BAR, which ends where the buffers end.
            fixed (byte* buffers = _buffers)
                Buffer.MemoryCopy(buffers + (offset - Buffers), &value, 8, bytes);
            return value;
        }

        if (bytes is not (4 or 8) || offset % (ulong)bytes != 0)
            return ulong.MaxValue;
        Channel channel = _channels[offset / PageSize];
        int register = (int)(offset % PageSize);
        if (register == PasidRegister.Status)
            Continue(channel);
        return bytes == 8 ? Read(channel, register) | ((ulong)Read(channel, register + 4) << 32) : Read(channel, register);
    }

    /// <inheritdoc/>
    protected override void OnWriteBar(int bar, ulong offset, int bytes, ulong value)
    {
        if (bar != 0)
            return;
        if (offset >= Buffers)
        {
            // SAFETY: as OnReadBar.
            fixed (byte* buffers = _buffers)
                Buffer.MemoryCopy(&value, buffers + (offset - Buffers), bytes, bytes);
            return;
        }

        if (bytes is not (4 or 8) || offset % (ulong)bytes != 0)
            return;
        Channel channel = _channels[offset / PageSize];
        Write(channel, (int)(offset % PageSize), (uint)value);
        if (bytes == 8)
            Write(channel, (int)(offset % PageSize) + 4, (uint)(value >> 32));
    }

    /// <inheritdoc/>
    protected override void OnConfigWritten(int offset, int bytes)
    {
        if (_pri != 0)
            Config.Set16(_pri + 6, (ushort)(HasPri ? 0x8000 : 0x8100));
        if (!HasAts)
            Forget();
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        foreach (Channel channel in _channels)
            channel.Reset();
        Forget();
        Array.Clear(_buffers);
    }

    private uint Read(Channel channel, int register) => register switch
    {
        PasidRegister.Identification => 0x0001_a51d,
        PasidRegister.Features => (HasPasid ? 1u : 0) | (HasAts ? 2u : 0) | (HasPri ? 4u : 0) | (Channels << 8),
        PasidRegister.Pasid => channel.Pasid,
        PasidRegister.Control => channel.Control,
        PasidRegister.Iova => (uint)channel.Iova,
        PasidRegister.Iova + 4 => (uint)(channel.Iova >> 32),
        PasidRegister.Length => channel.Length,
        PasidRegister.Offset => channel.Offset,
        PasidRegister.Status => (uint)channel.Status,
        PasidRegister.Result => (uint)channel.Result,
        PasidRegister.Result + 4 => (uint)(channel.Result >> 32),
        PasidRegister.Response => channel.Response,
        PasidRegister.PageRequests => channel.PageRequests,
        PasidRegister.CacheHits => channel.CacheHits,
        PasidRegister.Invalidations => _invalidations,
        _ => 0,
    };

    private void Write(Channel channel, int register, uint value)
    {
        // A command that waits for a page keeps what it was given.
        if (channel.Status == PasidStatus.Busy)
            return;
        switch (register)
        {
            case PasidRegister.Pasid: channel.Pasid = value & 0x800f_ffff; break;
            case PasidRegister.Control: channel.Control = value & 7; break;
            case PasidRegister.Iova: channel.Iova = (channel.Iova & ~0xffff_ffffUL) | value; break;
            case PasidRegister.Iova + 4: channel.Iova = (uint)channel.Iova | ((ulong)value << 32); break;
            case PasidRegister.Length: channel.Length = value; break;
            case PasidRegister.Offset: channel.Offset = value; break;
            case PasidRegister.Command: Start(channel, value); break;
            default: break;
        }
    }
}
