namespace IommuFd.HwSim.Devices;

/// <summary>The identification fields of a PCI configuration header.</summary>
/// <param name="Vendor">Vendor id.</param>
/// <param name="Device">Device id.</param>
/// <param name="Class">24-bit class code: base class, sub-class, programming interface.</param>
/// <param name="Revision">Revision id.</param>
/// <param name="SubsystemVendor">Subsystem vendor id.</param>
/// <param name="Subsystem">Subsystem id.</param>
public readonly record struct PciIdentity(ushort Vendor, ushort Device, uint Class, byte Revision = 0,
    ushort SubsystemVendor = 0, ushort Subsystem = 0);

/// <summary>A base address register.</summary>
/// <param name="Index">0 to 5; a 64-bit BAR takes the next index too.</param>
/// <param name="Size">Bytes, a power of two, at least 16 (memory) or 4 (I/O).</param>
/// <param name="IsIo">I/O space instead of memory.</param>
/// <param name="Is64Bit">A 64-bit memory BAR.</param>
/// <param name="IsPrefetchable">Reads have no side effects.</param>
public readonly record struct PciBar(int Index, ulong Size, bool IsIo = false, bool Is64Bit = false, bool IsPrefetchable = false);
