namespace IommuFd.HwSim.PageTables;

/// <summary>
/// The configuration of a page table: everything about it that is not in its bytes. Made by the format (for example
/// <c>VtdSecondStage.Geometry(48)</c>).
/// </summary>
/// <remarks>
/// Level 0 is the level whose entries are all pages of the smallest size; levels count upwards. All sizes are log2 of bytes ("Lg2").
/// </remarks>
public readonly record struct PageTableGeometry
{
    /// <summary>Level of the root table.</summary>
    public int TopLevel { get; init; }

    /// <summary>Width of an input address in bits; with <see cref="PageTableFeatures.SignExtend"/> it includes the sign.</summary>
    public int InputBits { get; init; }

    /// <summary>Width of an output address in bits; wider addresses in entries are faults.</summary>
    public int OutputBits { get; init; }

    /// <summary>log2 of the smallest page: 12, 14 or 16.</summary>
    public int GranuleLg2 { get; init; }

    /// <summary>Page sizes that may be used: bit n set for 2^n bytes.</summary>
    public ulong PageSizes { get; init; }

    /// <summary>Choices inside the format.</summary>
    public PageTableFeatures Features { get; init; }

    /// <summary>True when the feature was chosen.</summary>
    /// <param name="feature">One feature.</param>
    public bool Has(PageTableFeatures feature) => (Features & feature) != 0;

    /// <summary>All bits of an input address that the tables translate.</summary>
    public ulong InputMask => InputBits >= 64 ? ulong.MaxValue : (1UL << InputBits) - 1;

    /// <summary>True when the tables can translate this address: in range, or canonical.</summary>
    /// <param name="address">Input address.</param>
    public bool Contains(ulong address)
    {
        if (InputBits >= 64)
            return true;
        if ((Features & PageTableFeatures.SignExtend) == 0)
            return address >> InputBits == 0;
        var unused = 64 - InputBits;
        return (ulong)((long)(address << unused) >> unused) == address;
    }
}
