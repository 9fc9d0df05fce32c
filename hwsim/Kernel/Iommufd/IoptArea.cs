namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A range of IOVAs that is backed by pages (struct iopt_area). Small on purpose: an address space can have ten million of them.
/// </summary>
internal sealed class IoptArea
{
    internal IoptPages Pages = null!;
    internal ulong Iova;
    internal ulong LastIova;

    /// <summary>Byte of <see cref="Pages"/> at which the area begins.</summary>
    internal ulong StartByte;

    internal int AccessCount;
    internal ushort LockCount;
    private byte _bits;

    private const byte ProtBits = 7, FilledBit = 8, PreventAccessBit = 16;

    internal ulong Length => LastIova - Iova + 1;

    internal ulong PageOffset => StartByte % IoptPages.PageSize;

    internal ulong FirstIndex => StartByte / IoptPages.PageSize;

    internal ulong LastIndex => (StartByte + (LastIova - Iova)) / IoptPages.PageSize;

    internal IommuProt Prot
    {
        get => (IommuProt)(_bits & ProtBits);
        set => _bits = (byte)((_bits & ~ProtBits) | ((int)value & ProtBits));
    }

    /// <summary>True while the area's pages are in the domains of its address space (area->storage_domain).</summary>
    internal bool IsFilled
    {
        get => (_bits & FilledBit) != 0;
        set => _bits = (byte)(value ? _bits | FilledBit : _bits & ~FilledBit);
    }

    /// <summary>True while the area is being unmapped under somebody who has its pages.</summary>
    internal bool PreventAccess
    {
        get => (_bits & PreventAccessBit) != 0;
        set => _bits = (byte)(value ? _bits | PreventAccessBit : _bits & ~PreventAccessBit);
    }

    /// <summary>Byte of <see cref="Pages"/> behind an IOVA of the area.</summary>
    internal ulong ByteOf(ulong iova) => iova - Iova + StartByte;

    internal ulong IndexOf(ulong iova) => ByteOf(iova) / IoptPages.PageSize;

    internal void Reset()
    {
        Pages = null!;
        Iova = LastIova = StartByte = 0;
        AccessCount = 0;
        LockCount = 0;
        _bits = 0;
    }
}
