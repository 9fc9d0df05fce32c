using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// What all tables of the VT-d driver have in common: on which units they are used, under which domain id, by which devices and PASIDs (struct
/// dmar_domain).
/// </summary>
internal abstract class VtdDomain(IommuDomainType type, VtdOps owner) : IommuDomain(type, owner)
{
    private readonly List<UnitUse> _units = [];

    public override bool CanAttachPasid => true;

    /// <summary>Guards the table and its uses.</summary>
    protected Lock Gate { get; } = new();

    /// <summary>Where the table is used now. The gate is held.</summary>
    protected List<UnitUse> Units => _units;

    /// <summary>The owner.</summary>
    protected VtdOps Vtd => (VtdOps)Owner;

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = Vtd.DriverOf(device);
        (old as VtdDomain)?.Detach(device, IommuGroup.NoPasid);
        var rc = Compatible(driver);
        rc = rc != 0 ? rc : CanAskForPages(device);
        return rc != 0 ? rc : Use(driver, device, IommuGroup.NoPasid);
    }

    public override int SetDevicePasid(IommuDevice device, uint pasid, IommuDomain? old)
    {
        var driver = Vtd.DriverOf(device);
        if (!driver.HasPasids)
        {
            return -Errno.EOPNOTSUPP;
        }

        var rc = Compatible(driver);
        rc = rc != 0 ? rc : CanAskForPages(device);
        if (rc != 0)
        {
            return rc;
        }

        (old as VtdDomain)?.Detach(device, pasid);
        return Use(driver, device, pasid);
    }

    /// <summary>A device or one of its PASIDs leaves the table.</summary>
    internal void Detach(IommuDevice device, uint pasid)
    {
        var driver = Vtd.DriverOf(device);
        if (driver.IsScalable)
        {
            driver.ClearPasid(device, pasid);
        }
        else
        {
            driver.ClearContext(device.RequesterId);
        }

        lock (Gate)
        {
            var use = _units.Find(u => u.Driver == driver);
            if (use != null && use.Devices.Remove((device, pasid)) && use.Devices.Count == 0)
            {
                driver.FreeDomainId(use.Id);
                _units.Remove(use);
            }
        }
    }

    /// <summary>0, or -EINVAL when a unit cannot use the table.</summary>
    protected abstract int Compatible(VtdDriver driver);

    /// <summary>Writes the entries that point at the table. The gate is held.</summary>
    protected abstract int Install(VtdDriver driver, int domainId, IommuDevice device, uint pasid);

    // intel_iommu_enable_iopf: a domain with a fault handler takes only devices that can ask.
    private int CanAskForPages(IommuDevice device) => IopfHandler != null && !device.HasPageRequests ? -Errno.ENODEV : 0;

    private int Use(VtdDriver driver, IommuDevice device, uint pasid)
    {
        lock (Gate)
        {
            var use = _units.Find(u => u.Driver == driver);
            if (use == null)
            {
                use = new UnitUse(driver, driver.AllocDomainId());
                _units.Add(use);
            }

            var rc = Install(driver, use.Id, device, pasid);
            if (rc == 0)
            {
                use.Devices.Add((device, pasid));
            }
            else if (use.Devices.Count == 0)
            {
                driver.FreeDomainId(use.Id);
                _units.Remove(use);
            }

            return rc;
        }
    }

    /// <summary>A unit on which the table is used.</summary>
    internal sealed class UnitUse(VtdDriver driver, int id)
    {
        public VtdDriver Driver { get; } = driver;

        /// <summary>The domain id there.</summary>
        public int Id { get; } = id;

        public List<(IommuDevice Device, uint Pasid)> Devices { get; } = [];
    }
}

/// <summary>All DMA faults: no entry is present.</summary>
internal sealed class VtdBlockedDomain(VtdOps owner) : IommuDomain(IommuDomainType.Blocked, owner)
{
    public override bool CanAttachPasid => true;

    public override int AttachDevice(IommuDevice device, IommuDomain? old) => SetDevicePasid(device, IommuGroup.NoPasid, old);

    public override int SetDevicePasid(IommuDevice device, uint pasid, IommuDomain? old)
    {
        (old as VtdDomain)?.Detach(device, pasid);
        return 0;
    }
}
