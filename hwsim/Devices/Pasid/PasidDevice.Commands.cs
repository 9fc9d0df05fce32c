using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Devices.Pasid;

// What channels do. Registers are accessed under the device's lock; answers of the unit come under the unit's lock, so they take the cache's lock
// only.
public sealed unsafe partial class PasidDevice
{
    private const uint UseAts = 1, UsePri = 2, Interrupt = 4;
    private readonly Lock _cacheLock = new();
    private readonly Dictionary<(uint Pasid, ulong Page), (ulong Output, DmaAccess Allowed)> _cache = [];
    private uint _cacheGeneration, _invalidations;

    private sealed class Channel(PasidDevice device, int index)
    {
        public readonly PasidDevice Device = device;
        public readonly int Index = index;
        public uint Pasid, Control, Length, Offset, Response, PageRequests, CacheHits;
        public ulong Iova, Result;
        public PasidStatus Status;
        public PasidCommand Command;
        public bool ForWriting;
        public uint Done;

        // Under the cache's lock.
        public bool IsWaiting;
        public int Answer = -1;

        public uint RequestPasid => (Pasid & 1u << 31) != 0 ? Pasid & 0xf_ffff : DmaRequest.NoPasid;

        public void Reset()
        {
            (Pasid, Control, Length, Offset, Response, PageRequests, CacheHits) = (0, 0, 0, 0, 0, 0, 0);
            (Iova, Result, Status, Done) = (0, 0, PasidStatus.Idle, 0);
            lock (Device._cacheLock)
                (IsWaiting, Answer) = (false, -1);
        }
    }

    /// <inheritdoc/>
    public void Invalidate(uint pasid, ulong address, ulong last, bool global)
    {
        lock (_cacheLock)
        {
            _invalidations++;
            _cacheGeneration++;
            foreach ((uint Pasid, ulong Page) key in _cache.Keys)
            {
                if ((global || key.Pasid == pasid) && key.Page >= address && key.Page <= last)
                    _ = _cache.Remove(key);
            }
        }
    }

    /// <inheritdoc/>
    public void PageResponse(uint pasid, ushort group, byte code)
    {
        if (group >= Channels)
            return;
        Channel channel = _channels[group];
        lock (_cacheLock)
        {
            if (!channel.IsWaiting)
                return;
            (channel.IsWaiting, channel.Answer) = (false, code);
        }

        // The unit is locked here: the channel goes on elsewhere.
        _ = ThreadPool.UnsafeQueueUserWorkItem(
            static c =>
            {
                lock (c.Device.Gate)
                    c.Device.Continue(c);
            },
            channel,
            preferLocal: false);
    }

    private void Forget()
    {
        lock (_cacheLock)
        {
            _cacheGeneration++;
            _cache.Clear();
        }
    }

    private void Start(Channel channel, uint command)
    {
        (channel.Command, channel.ForWriting, channel.Done) = ((PasidCommand)(byte)command, (command & 0x100) != 0, 0);
        channel.ForWriting |= channel.Command == PasidCommand.Write;
        bool moves = channel.Command is PasidCommand.Read or PasidCommand.Write;
        bool asks = channel.Command == PasidCommand.RequestPage || (channel.Control & UsePri) != 0;
        bool translates = channel.Command == PasidCommand.Translate || (channel.Control & (UseAts | UsePri)) != 0;
        bool possible = channel.Command is >= PasidCommand.Read and <= PasidCommand.Forget
            && (!moves || (channel.Length is > 0 and <= PageSize && channel.Offset <= PageSize - channel.Length))
            && (channel.RequestPasid == DmaRequest.NoPasid || HasPasid) && (!translates || HasAts) && (!asks || HasPri)
            && Unit != null && BusMasterEnabled;
        if (!possible)
            End(channel, PasidStatus.Unsupported);
        else if (channel.Command == PasidCommand.Forget)
            Forget(channel);
        else if (channel.Command == PasidCommand.RequestPage)
            Ask(channel);
        else
            Run(channel);
    }

    private void Forget(Channel channel)
    {
        Forget();
        End(channel, PasidStatus.Done);
    }

    // An answer has come, or not.
    private void Continue(Channel channel)
    {
        int answer;
        lock (_cacheLock)
        {
            answer = channel.Answer;
            channel.Answer = -1;
        }

        if (answer < 0 || channel.Status != PasidStatus.Busy)
            return;
        channel.Response = (uint)answer | 1u << 31;
        if (answer != 0)
            End(channel, PasidStatus.Refused);
        else if (channel.Command == PasidCommand.RequestPage)
            End(channel, PasidStatus.Done);
        else
            Run(channel);
    }

    private void Run(Channel channel)
    {
        bool moves = channel.Command != PasidCommand.Translate;
        uint length = moves ? channel.Length : 1;
        while (channel.Done < length)
        {
            ulong iova = channel.Iova + channel.Done;
            uint part = Math.Min(length - channel.Done, PageSize - (uint)(iova % PageSize));
            bool translated = !moves || (channel.Control & UseAts) != 0;
            ulong address = iova;
            if (translated && !TryTranslate(channel, iova, out address))
            {
                if ((channel.Control & UsePri) != 0)
                    Ask(channel);
                else
                    End(channel, PasidStatus.Fault);
                return;
            }

            if (moves && Move(channel, address, part, translated) != DmaStatus.Success)
            {
                End(channel, PasidStatus.Fault);
                return;
            }

            channel.Done += part;
        }

        End(channel, PasidStatus.Done);
    }

    // The page request group is the channel: one at a time.
    private void Ask(Channel channel)
    {
        channel.Status = PasidStatus.Busy;
        channel.PageRequests++;
        lock (_cacheLock)
            (channel.IsWaiting, channel.Answer) = (true, -1);
        DmaAccess access = DmaAccess.Read | (channel.ForWriting ? DmaAccess.Write : 0);
        ulong page = (channel.Iova + channel.Done) & ~(PageSize - 1UL);
        _ = Unit!.RequestPage(new PageRequest(RequesterId, channel.RequestPasid, page, access, (ushort)channel.Index, Last: true));
        Continue(channel); // answered at once
    }

    private void End(Channel channel, PasidStatus status)
    {
        channel.Status = status;
        if ((channel.Control & Interrupt) != 0)
            RaiseInterrupt(channel.Index);
    }

    private bool TryTranslate(Channel channel, ulong iova, out ulong address)
    {
        DmaAccess access = channel.ForWriting ? DmaAccess.Read | DmaAccess.Write : DmaAccess.Read;
        (uint Pasid, ulong Page) key = (channel.RequestPasid, iova & ~(PageSize - 1UL));
        address = 0;
        uint generation;
        lock (_cacheLock)
        {
            generation = _cacheGeneration;
            if (_cache.TryGetValue(key, out (ulong Output, DmaAccess Allowed) kept) && (access & ~kept.Allowed) == 0)
            {
                channel.CacheHits++;
                address = kept.Output + (iova % PageSize);
                channel.Result = kept.Output | (uint)kept.Allowed;
                return true;
            }
        }

        channel.Result = 0;
        if (!Unit!.Translate(new DmaRequest(RequesterId, channel.RequestPasid, key.Page, access | DmaAccess.TranslationRequest),
            out DmaTranslation translation))
            return false;
        DmaAccess allowed = translation.Allowed & (DmaAccess.Read | DmaAccess.Write);
        channel.Result = translation.Output | (uint)allowed;
        address = translation.Output + (iova % PageSize);
        lock (_cacheLock)
        {
            // What an invalidation has overtaken is not kept.
            if (generation == _cacheGeneration)
                _cache[key] = (translation.Output, allowed);
        }

        return true;
    }

    // SAFETY: offset and length were checked against the channel's buffer, which is pinned.
    private DmaStatus Move(Channel channel, ulong address, uint length, bool translated)
    {
        bool toMemory = channel.Command == PasidCommand.Write;
        fixed (byte* buffers = _buffers)
        {
            byte* bytes = buffers + (channel.Index * PageSize) + channel.Offset + channel.Done;
            if (!translated)
                return toMemory ? DmaWrite(address, bytes, length, channel.RequestPasid) : DmaRead(address, bytes, length, channel.RequestPasid);
            var request = new DmaRequest(RequesterId, channel.RequestPasid, address,
                DmaAccess.Translated | (toMemory ? DmaAccess.Write : DmaAccess.Read));
            if (!Unit!.Translate(request, out DmaTranslation translation))
                return DmaStatus.Fault;
            ulong moved = toMemory ? Unit.Memory.CopyIn(translation.Output, bytes, length) : Unit.Memory.CopyOut(translation.Output, bytes, length);
            return moved == length ? DmaStatus.Success : DmaStatus.NoMemory;
        }
    }
}
