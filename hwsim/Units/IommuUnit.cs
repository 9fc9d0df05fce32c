namespace IommuFd.HwSim.Units;

/// <summary>An IOMMU as devices see it: they ask for memory by requester id, PASID and IOVA, and get data or a fault.</summary>
/// <remarks>
/// DMA may run on any number of threads. Nothing is allocated per request. An invalidation does not wait for a copy that another thread has begun.
/// </remarks>
// SAFETY: bytes are moved only through pointers that PhysicalMemory gave for the whole piece; the device vouches for its own buffer.
public abstract unsafe class IommuUnit
{
    private readonly Dictionary<ushort, IDeviceTlb> _deviceTlbs = [];

    /// <summary>A unit in front of this memory.</summary>
    /// <param name="memory">Physical memory.</param>
    protected IommuUnit(PhysicalMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        Memory = memory;
    }

    /// <summary>Physical memory behind the unit.</summary>
    public PhysicalMemory Memory { get; }

    /// <summary>Where interrupt messages go; null drops them.</summary>
    public IInterruptController? Interrupts { get; set; }

    /// <summary>
    /// Where messages end that are writes to memory first and translated like them; null on platforms whose unit knows messages by their address.
    /// </summary>
    public GicIts? Its { get; set; }

    /// <summary>
    /// True: every cached translation that is used is compared with the tables, and differences go to <see cref="StaleUses"/>. Costs a walk per
    /// request.
    /// </summary>
    public bool ChecksStaleness { get; set; }

    /// <summary>What <see cref="ChecksStaleness"/> found; at most 64 are kept.</summary>
    public List<StaleUse> StaleUses { get; } = [];

    /// <summary>Connects a device's own translation cache, so that invalidations and page responses reach it.</summary>
    /// <param name="requesterId">The device.</param>
    /// <param name="tlb">Its cache; null disconnects.</param>
    public void ConnectDeviceTlb(ushort requesterId, IDeviceTlb? tlb)
    {
        lock (_deviceTlbs)
        {
            if (tlb == null)
                _deviceTlbs.Remove(requesterId);
            else
                _deviceTlbs[requesterId] = tlb;
        }
    }

    /// <summary>A device asks for a page (PRI). The answer comes to its <see cref="IDeviceTlb.PageResponse"/>.</summary>
    /// <param name="request">The request.</param>
    /// <returns>False when the unit takes no page requests of this device, or its queue is full.</returns>
    public virtual bool RequestPage(in PageRequest request) => false;

    /// <summary>The translation cache of a device.</summary>
    /// <param name="requesterId">The device.</param>
    /// <returns>Null when none is connected.</returns>
    protected IDeviceTlb? DeviceTlbOf(ushort requesterId)
    {
        lock (_deviceTlbs)
            return _deviceTlbs.GetValueOrDefault(requesterId);
    }

    /// <summary>Keeps a finding of <see cref="ChecksStaleness"/>.</summary>
    /// <param name="use">The finding.</param>
    protected void ReportStale(StaleUse use)
    {
        lock (StaleUses)
        {
            if (StaleUses.Count < 64)
                StaleUses.Add(use);
        }
    }

    /// <summary>Translates one request; the answer holds for the page around the address.</summary>
    /// <param name="request">The request.</param>
    /// <param name="translation">The translation, or the unit's fault code.</param>
    /// <returns>False when the unit refuses; it has recorded the fault as its data book says.</returns>
    public abstract bool Translate(in DmaRequest request, out DmaTranslation translation);

    /// <summary>A device reads memory.</summary>
    /// <param name="requesterId">Who.</param>
    /// <param name="pasid">PASID or <see cref="DmaRequest.NoPasid"/>.</param>
    /// <param name="iova">First address.</param>
    /// <param name="destination">The device's buffer.</param>
    /// <param name="length">Bytes; pages may be crossed.</param>
    /// <returns>How it ended.</returns>
    public DmaStatus Read(ushort requesterId, uint pasid, ulong iova, void* destination, ulong length) =>
        Move(requesterId, pasid, iova, (byte*)destination, length, DmaAccess.Read);

    /// <summary>A device writes memory, or sends an interrupt message.</summary>
    /// <param name="requesterId">Who.</param>
    /// <param name="pasid">PASID or <see cref="DmaRequest.NoPasid"/>.</param>
    /// <param name="iova">First address.</param>
    /// <param name="source">The device's buffer.</param>
    /// <param name="length">Bytes; pages may be crossed.</param>
    /// <returns>How it ended.</returns>
    public DmaStatus Write(ushort requesterId, uint pasid, ulong iova, void* source, ulong length)
    {
        if (length == 4 && IsMessage(iova, pasid))
        {
            OnMessage(requesterId, iova, *(uint*)source);
            return DmaStatus.Success;
        }

        return Move(requesterId, pasid, iova, (byte*)source, length, DmaAccess.Write);
    }

    /// <summary>True when a write to this address is an interrupt message, not memory.</summary>
    /// <param name="address">IOVA.</param>
    /// <param name="pasid">PASID or <see cref="DmaRequest.NoPasid"/>.</param>
    protected virtual bool IsMessage(ulong address, uint pasid) => false;

    /// <summary>Delivers a message, remapped if the unit does that.</summary>
    /// <param name="requesterId">Who sent it.</param>
    /// <param name="address">Message address.</param>
    /// <param name="data">Message data.</param>
    protected virtual void OnMessage(ushort requesterId, ulong address, uint data) => Interrupts?.Message(requesterId, address, data);

    /// <summary>A write to an interrupt file.</summary>
    /// <param name="request">The request.</param>
    /// <param name="translation">Its translation, with <see cref="DmaTranslation.IsMessage"/>.</param>
    /// <param name="data">The first 4 bytes.</param>
    /// <param name="length">Bytes of the write.</param>
    protected virtual DmaStatus WriteMessage(in DmaRequest request, in DmaTranslation translation, uint data, ulong length) => DmaStatus.NoMemory;

    private static bool IsDoorbell(GicIts its, ushort requesterId, ulong address, byte* data, ulong length)
    {
        uint word = 0;
        Buffer.MemoryCopy(data, &word, 4, Math.Min(length, 4));
        return its.TryWrite(requesterId, address, word, length);
    }

    private DmaStatus Move(ushort requesterId, uint pasid, ulong iova, byte* device, ulong length, DmaAccess access)
    {
        if (length == 0)
            return DmaStatus.Success;

        // The usual transfer is a piece of one page, whose translation is cached.
        if (TryHit(requesterId, pasid, iova, access, out var output, out var sizeLg2))
        {
            var inPage = (1UL << sizeLg2) - 1;
            var memory = length - 1 <= inPage - (iova & inPage) ? Memory.TryGet(output, length) : null;
            if (memory != null)
            {
                if (access == DmaAccess.Read)
                    MemoryCopy.Copy(device, memory, length);
                else
                    MemoryCopy.Copy(memory, device, length);
                return DmaStatus.Success;
            }
        }

        return MovePieces(requesterId, pasid, iova, device, length, access);
    }

    /// <summary>Looks into the unit's caches for a request that needs nothing else.</summary>
    /// <param name="requesterId">Who.</param>
    /// <param name="pasid">PASID or <see cref="DmaRequest.NoPasid"/>.</param>
    /// <param name="address">IOVA.</param>
    /// <param name="access">Read or Write.</param>
    /// <param name="output">Physical address.</param>
    /// <param name="sizeLg2">log2 of the page.</param>
    /// <returns>False when <see cref="Translate"/> must be asked.</returns>
    protected virtual bool TryHit(ushort requesterId, uint pasid, ulong address, DmaAccess access, out ulong output, out int sizeLg2)
    {
        output = 0;
        sizeLg2 = 0;
        return false;
    }

    // Page by page.
    private DmaStatus MovePieces(ushort requesterId, uint pasid, ulong iova, byte* device, ulong length, DmaAccess access)
    {
        while (length != 0)
        {
            if (!Translate(new DmaRequest(requesterId, pasid, iova, access), out var translation))
                return translation.IsStalled ? DmaStatus.Stalled : DmaStatus.Fault;
            if (translation.IsMessage)
            {
                // Reads of an interrupt file give zeros; a write is a message, of its first 4 bytes.
                var inPage = Math.Min(length, 4096 - (iova & 4095));
                uint word = 0;
                if (access == DmaAccess.Read)
                {
                    new Span<byte>(device, (int)inPage).Clear();
                }
                else
                {
                    Buffer.MemoryCopy(device, &word, 4, Math.Min(length, 4));
                    var status = WriteMessage(new DmaRequest(requesterId, pasid, iova, access), translation, word, inPage);
                    if (status != DmaStatus.Success)
                        return status;
                }

                device += inPage;
                iova += inPage;
                length -= inPage;
                continue;
            }

            var piece = Math.Min(length, (1UL << translation.SizeLg2) - (iova & ((1UL << translation.SizeLg2) - 1)));
            var wanted = piece;
            var memory = Memory.TryGetSome(translation.Output, ref piece);
            if (memory == null)
            {
                if (access == DmaAccess.Write && Its is { } its && IsDoorbell(its, requesterId, translation.Output, device, length))
                    return DmaStatus.Success;
                // Not this process's: another one's, or none.
                piece = access == DmaAccess.Read
                    ? Memory.CopyOut(translation.Output, device, wanted)
                    : Memory.CopyIn(translation.Output, device, wanted);
                if (piece != wanted)
                    return DmaStatus.NoMemory;
            }
            else if (access == DmaAccess.Read)
            {
                MemoryCopy.Copy(device, memory, piece);
            }
            else
            {
                MemoryCopy.Copy(memory, device, piece);
            }

            device += piece;
            iova += piece;
            length -= piece;
        }

        return DmaStatus.Success;
    }
}

/// <summary>No IOMMU: every address is physical. What a device on a bus without a unit, or with translation off, sees.</summary>
/// <param name="memory">Physical memory.</param>
public sealed class NoIommuUnit(PhysicalMemory memory) : IommuUnit(memory)
{
    /// <inheritdoc/>
    public override bool Translate(in DmaRequest request, out DmaTranslation translation)
    {
        translation = new DmaTranslation { Output = request.Address, SizeLg2 = 63, Allowed = DmaAccess.Read | DmaAccess.Write | DmaAccess.Execute };
        return true;
    }
}
