namespace IommuFd.HwSim.Kernel;

/// <summary>An entry of a driver's id table, or an id added at run time; <see cref="Any"/> matches everything.</summary>
/// <param name="Vendor">Vendor id.</param>
/// <param name="Device">Device id.</param>
/// <param name="SubsystemVendor">Subsystem vendor id.</param>
/// <param name="SubsystemDevice">Subsystem device id.</param>
/// <param name="Class">Class code.</param>
/// <param name="ClassMask">Bits of the class code that count.</param>
/// <param name="OverrideOnly">Matches only a function whose driver_override names the driver.</param>
internal readonly record struct PciId(
    uint Vendor, uint Device, uint SubsystemVendor = PciId.Any, uint SubsystemDevice = PciId.Any, uint Class = 0, uint ClassMask = 0,
    bool OverrideOnly = false)
{
    public const uint Any = uint.MaxValue;

    public bool Matches(PciFunction function) =>
        Matches(function.Vendor, function.Device, function.SubsystemVendor, function.SubsystemDevice, function.Class);

    public bool Matches(uint vendor, uint device, uint subsystemVendor, uint subsystemDevice, uint classCode) =>
        (Vendor == Any || Vendor == vendor) && (Device == Any || Device == device) && (SubsystemVendor == Any || SubsystemVendor == subsystemVendor)
        && (SubsystemDevice == Any || SubsystemDevice == subsystemDevice) && ((Class ^ classCode) & ClassMask) == 0;
}

/// <summary>A PCI driver (struct pci_driver).</summary>
/// <param name="name">Its name under /sys/bus/pci/drivers.</param>
/// <param name="ids">Its id table.</param>
internal abstract class PciDriver(string name, params PciId[] ids)
{
    /// <summary>Its name.</summary>
    public string Name { get; } = name;

    /// <summary>Its id table.</summary>
    public IReadOnlyList<PciId> Ids { get; } = ids;

    /// <summary>Ids added through new_id.</summary>
    public List<PciId> DynamicIds { get; } = [];

    /// <summary>True when the driver does no DMA of its own, so that it does not stand in VFIO's way (driver_managed_dma).</summary>
    public virtual bool ManagesDma => false;

    /// <summary>True when it can enable virtual functions (sriov_configure).</summary>
    public virtual bool HasSriovConfigure => false;

    /// <summary>Takes the function: 0, or -errno. The function's lock is held.</summary>
    public abstract int Probe(PciFunction function);

    /// <summary>Lets go of the function; may wait for its users. The function's lock is held.</summary>
    public virtual void Remove(PciFunction function)
    {
    }

    /// <summary>Enables or (0) disables virtual functions: their number, or -errno.</summary>
    public virtual int SriovConfigure(PciFunction function, int count) => count;
}
