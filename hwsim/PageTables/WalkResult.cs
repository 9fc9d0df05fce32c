using System.Runtime.InteropServices;

namespace IommuFd.HwSim.PageTables;

/// <summary>The outcome of a walk: a translation, or the entry at which it ended.</summary>
[StructLayout(LayoutKind.Explicit)]
public struct WalkResult
{
    // Fault and Level in one.
    [FieldOffset(0)]
    private ulong _faultAndLevel;

    /// <summary>None when there is a translation.</summary>
    [FieldOffset(0)]
    public WalkFault Fault;

    /// <summary>Level of the last entry that was looked at.</summary>
    [FieldOffset(4)]
    public int Level;

    /// <summary>log2 of the size of the page, contiguous runs included.</summary>
    [FieldOffset(8)]
    public int SizeLg2;

    /// <summary>What the leaf and all tables above it allow, and the leaf's other attributes.</summary>
    [FieldOffset(12)]
    public PageAttributes Attributes;

    /// <summary>Output address of the input address (not only of its page).</summary>
    [FieldOffset(16)]
    public ulong Output;

    /// <summary>The last entry that was looked at.</summary>
    [FieldOffset(24)]
    public ulong Entry;

    /// <summary>Address of that entry, in the space that the tables are in.</summary>
    [FieldOffset(32)]
    public ulong EntryAddress;

    /// <summary>True when there is a translation.</summary>
    public readonly bool Ok => Fault == WalkFault.None;

    /// <summary>A page of the lowest level, without a fault.</summary>
    internal void SetPage(int sizeLg2)
    {
        _faultAndLevel = 0;
        SizeLg2 = sizeLg2;
    }
}
