namespace IommuFd;

/// <summary>A part of a child address space that leads to its parent. Disposing it removes it.</summary>
public sealed class NestedMapping : Resource
{
    internal NestedMapping(ChildAddressSpace space, ulong iova, ulong parentIova, ulong length, DmaAccess access)
        : base(space)
    {
        Space = space;
        Iova = iova;
        ParentIova = parentIova;
        Length = length;
        Access = access;
    }

    /// <summary>The child.</summary>
    public ChildAddressSpace Space { get; }

    /// <summary>What a device uses as the address of the first byte.</summary>
    public ulong Iova { get; }

    /// <summary>Where that leads in the parent.</summary>
    public ulong ParentIova { get; }

    /// <summary>Bytes.</summary>
    public ulong Length { get; }

    /// <summary>What devices may do, where the parent allows it too.</summary>
    public DmaAccess Access { get; }

    internal ulong Last => Iova + (Length - 1);

    internal ulong ParentLast => ParentIova + (Length - 1);

    private protected override void Free() => Space.Remove(this);
}
