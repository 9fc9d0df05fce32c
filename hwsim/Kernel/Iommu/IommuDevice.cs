namespace IommuFd.HwSim.Kernel;

/// <summary>A device as the IOMMU core sees it (struct device with its struct dev_iommu).</summary>
/// <param name="name">Its name on its bus, such as 0000:00:04.0.</param>
/// <param name="ops">The IOMMU driver that translates its DMA; null for a device without an IOMMU.</param>
/// <param name="unit">The hardware unit in front of it, for identity; null without an IOMMU.</param>
public class IommuDevice(string name, IommuOps? ops, object? unit)
{
    private readonly List<IoPageFault> _partialFaults = [];
    private readonly ushort? _contextId;

    /// <summary>Its name on its bus.</summary>
    public string Name { get; } = name;

    /// <summary>The driver that translates its DMA; null for a device without an IOMMU.</summary>
    public IommuOps? Ops { get; } = ops;

    /// <summary>The hardware unit in front of it (dev->iommu->iommu_dev).</summary>
    public object? Unit { get; } = unit;

    /// <summary>True when there is a unit in front of it, but the driver refused it (probe_device failed): it has no IOMMU.</summary>
    internal bool IsRefused { get; init; }

    /// <summary>Its requester id: bus &lt;&lt; 8 | device &lt;&lt; 3 | function.</summary>
    public ushort RequesterId { get; init; }

    /// <summary>
    /// The id whose context entry VT-d's driver writes in scalable mode. Behind a bridge to conventional PCI it is not <see cref="RequesterId"/>.
    /// </summary>
    /// <remarks>
    /// Linux 7.3 writes the entry of the device's own address only (pci_pasid_table_setup), although its requests carry the bridge's id: their DMA is
    /// refused.
    /// The kernel of the 2021 proposal writes the entries of all ids.
    /// </remarks>
    public ushort ContextId
    {
        get => _contextId ?? RequesterId;
        init => _contextId = value;
    }

    /// <summary>Its PCI segment.</summary>
    public ushort Segment { get; init; }

    /// <summary>True for a PCI function.</summary>
    public bool IsPci { get; init; } = true;

    /// <summary>True for an SR-IOV virtual function.</summary>
    public bool IsVirtualFunction { get; init; }

    /// <summary>True when the function keeps translations of its own (ATS), and they are switched on.</summary>
    public bool HasDeviceTlb { get; init; }

    /// <summary>True when the function has the page-request interface, and it is switched on.</summary>
    public bool HasPageRequests { get; init; }

    /// <summary>PASIDs that device and unit can use, a power of two; 0 without PASID support.</summary>
    public uint MaxPasids { get; init; }

    /// <summary>True when the PASID capability has execute permission.</summary>
    public bool PasidExecute { get; init; }

    /// <summary>True when the PASID capability has privileged mode.</summary>
    public bool PasidPrivileged { get; init; }

    /// <summary>True when the platform keeps the device's writes from raising other devices' interrupts (interrupt remapping).</summary>
    public bool HasIsolatedMsi { get; init; } = true;

    /// <summary>True when an interrupt on this machine is remapped in software (mock devices of the kernel's test front end).</summary>
    internal virtual bool IsMock => false;

    /// <summary>The IOVAs it cannot use freely (iommu_get_resv_regions).</summary>
    public IReadOnlyList<ReservedRegion> ReservedRegions { get; init; } = [];

    /// <summary>First IOVA of the window in which the kernel maps interrupt doorbells (IOMMU_RESV_SW_MSI); null without one.</summary>
    internal ulong? SoftwareMsi
    {
        get
        {
            foreach (var region in ReservedRegions)
            {
                if (region.Type == ReservedRegionType.SoftwareMsi)
                {
                    return region.Start;
                }
            }

            return null;
        }
    }

    /// <summary>Its group; null before <see cref="IommuGroup.AddDevice"/>.</summary>
    public IommuGroup? Group { get; internal set; }

    /// <summary>True when firmware wants a range mapped 1:1 at all times: the device cannot be handed out.</summary>
    public bool RequireDirect
    {
        get
        {
            foreach (var region in ReservedRegions)
            {
                if (region.Type == ReservedRegionType.Direct)
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>device_iommu_capable: false without an IOMMU.</summary>
    public bool Capable(IommuCapability capability) => Ops?.Capable(this, capability) ?? false;

    /// <summary>Whatever the IOMMU driver keeps for the device (dev_iommu_priv).</summary>
    public object? DriverData { get; set; }

    /// <summary>
    /// The device asks for a page (iommu_report_device_fault): requests of one group are collected until the last one, then go to whoever handles the
    /// attachment's faults. Without a handler the answer is <see cref="PageResponseCode.Invalid"/>.
    /// </summary>
    /// <param name="fault">The request.</param>
    /// <param name="respond">Receives the group's answer; null when nobody waits for it.</param>
    public void ReportFault(in IoPageFault fault, Action<PageResponseCode>? respond = null)
    {
        respond ??= static _ => { };
        var handle = FindFaultHandle(fault);
        if (handle?.Domain?.IopfHandler is not { } handler)
        {
            respond(PageResponseCode.Invalid);
            return;
        }

        var faults = new List<IoPageFault>();
        lock (_partialFaults)
        {
            if ((fault.Flags & IoPageFault.LastPage) == 0)
            {
                _partialFaults.Add(fault);
                return;
            }

            var group = fault.GroupIndex;
            faults.AddRange(_partialFaults.Where(f => f.GroupIndex == group));
            _partialFaults.RemoveAll(f => f.GroupIndex == group);
        }

        faults.Add(fault);
        handler(new IoPageFaultGroup(handle, faults, respond));
    }

    // A PASID that has no attachment of its own belongs to the table of PASIDs that user space put under the device.
    private IommuAttachHandle? FindFaultHandle(in IoPageFault fault)
    {
        if ((fault.Flags & IoPageFault.PasidValid) == 0)
        {
            return Group?.GetAttachHandle(IommuGroup.NoPasid);
        }

        if (Group?.GetAttachHandle(fault.Pasid) is { } handle)
        {
            return handle;
        }

        return Ops is { HasUserPasidTable: true } && Group?.GetAttachHandle(IommuGroup.NoPasid) is { Domain.Type: IommuDomainType.Nested } nested
            ? nested
            : null;
    }
}
