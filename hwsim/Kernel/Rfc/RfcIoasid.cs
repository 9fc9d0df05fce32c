namespace IommuFd.HwSim.Kernel;

/// <summary>One I/O address space: a handle of its file and exactly one I/O page table (struct ioasid_data).</summary>
/// <param name="context">Its file.</param>
/// <param name="parent">The space that translates this one's output; null for a root.</param>
/// <param name="addressWidth">Bits of its addresses.</param>
internal abstract class RfcIoasid(RfcContext context, RfcIoasid? parent, uint addressWidth)
{
    /// <summary>Most levels of children below a root.</summary>
    internal const uint MaximumDepth = 8;

    /// <summary>Its file.</summary>
    internal RfcContext Context { get; } = context;

    /// <summary>The space that translates its output; null for a root.</summary>
    internal RfcIoasid? Parent { get; } = parent;

    /// <summary>Bits of its addresses, 1 to 64.</summary>
    internal uint AddressWidth { get; } = addressWidth;

    /// <summary>Its handle.</summary>
    internal int Id { get; set; } = -1;

    /// <summary>The spaces whose output it translates.</summary>
    internal List<RfcIoasid> Children { get; } = [];

    /// <summary>The page requests of the space; null when it takes none.</summary>
    internal RfcFaults? Faults { get; private set; }

    /// <summary>Attachments of devices and PASIDs.</summary>
    internal int Attachments { get; set; }

    /// <summary>Levels above it: 0 for a root.</summary>
    internal uint Depth => Parent is null ? 0 : Parent.Depth + 1;

    /// <summary>The table that the IOMMU walks, while something is attached; null else, and for what is attached in software only.</summary>
    internal abstract IommuDomain? Domain { get; }

    /// <summary>True when <paramref name="other"/> translates this space's output, directly or further up.</summary>
    internal bool IsBelow(RfcIoasid other)
    {
        for (RfcIoasid? at = Parent; at is not null; at = at.Parent)
        {
            if (at == other)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>True when no-snoop DMA of a device is made coherent in this space.</summary>
    internal abstract bool EnforcesSnoopFor(RfcDevice device);

    /// <summary>
    /// Makes the table ready for one more attachment. -EINVAL when format, width or snoop policy do not fit the device; -ENOMEM beyond what may be
    /// locked.
    /// </summary>
    internal abstract int Activate(RfcAttachment attachment);

    /// <summary>An attachment that <see cref="Activate"/> was called for is gone; the table goes with the last one.</summary>
    internal abstract void Deactivate(RfcAttachment attachment);

    /// <summary>The space takes page requests (IOMMU_IOASID_FAULT). Before anything is attached.</summary>
    internal void TakeFaults() => Faults = new RfcFaults(this);

    /// <summary>The user gave the space back.</summary>
    internal virtual void Free() => Parent?.Children.Remove(this);
}
