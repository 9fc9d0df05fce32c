namespace IommuFd.Sysfs;

/// <summary>What a group member's driver means for handing the group to user space.</summary>
public enum DriverClaimKind
{
    /// <summary>No driver: no claim on DMA, the group can be owned.</summary>
    None,

    /// <summary>A VFIO driver: the member itself can be opened.</summary>
    Vfio,

    /// <summary>A driver that manages DMA ownership itself and does none: <c>pcieport</c>, <c>pci-stub</c>.</summary>
    ManagedDma,

    /// <summary>A driver of the kernel's DMA API: while it is bound, nobody else can own the group.</summary>
    HostDma,
}

/// <summary>
/// The kernel's rule since 5.19: a bound driver claims the group for the DMA API unless it sets <c>driver_managed_dma</c>
/// (iommu_device_use_default_domain). sysfs does not show that flag, so the drivers that set it are known here by name.
/// </summary>
public static class DriverClaim
{
    /// <summary>The generic driver for PCI functions.</summary>
    public const string VfioPci = "vfio-pci";

    /// <summary>Judges one member by its driver.</summary>
    public static DriverClaimKind Of(PciFunction member) =>
        member.VfioDevice is not null ? DriverClaimKind.Vfio : Of(member.Driver);

    /// <summary>Judges a driver by its name; null is "no driver".</summary>
    public static DriverClaimKind Of(string? driver) => driver switch
    {
        null => DriverClaimKind.None,
        _ when IsVfio(driver) => DriverClaimKind.Vfio,
        "pcieport" or "pci-stub" or "fsl-pci" => DriverClaimKind.ManagedDma,
        _ => DriverClaimKind.HostDma,
    };

    /// <summary>
    /// Whether a driver gives devices to user space through VFIO: vfio-pci, its variant drivers (mlx5_vfio_pci, ...), and those of other buses.
    /// </summary>
    public static bool IsVfio(string? driver) => driver is not null
        && (driver.Replace('_', '-').Contains("vfio-pci", StringComparison.Ordinal)
            || driver is "vfio-platform" or "vfio-amba" or "vfio-fsl-mc" or "vfio-cdx");
}
