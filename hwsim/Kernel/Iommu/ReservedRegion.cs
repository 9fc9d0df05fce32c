namespace IommuFd.HwSim.Kernel;

/// <summary>Why a range of IOVAs is special (IOMMU_RESV_*).</summary>
public enum ReservedRegionType
{
    /// <summary>Must always be mapped 1:1: a device with such a region cannot be handed out.</summary>
    Direct,

    /// <summary>Mapped 1:1 for the host's driver, free when the device is handed out.</summary>
    DirectRelaxable,

    /// <summary>Never to be mapped.</summary>
    Reserved,

    /// <summary>The window in which the hardware sees interrupt messages.</summary>
    Msi,

    /// <summary>The window in which the kernel maps interrupt doorbells.</summary>
    SoftwareMsi,
}

/// <summary>A range of IOVAs that a device cannot use freely (struct iommu_resv_region).</summary>
/// <param name="Start">First IOVA.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Type">Why.</param>
public readonly record struct ReservedRegion(ulong Start, ulong Length, ReservedRegionType Type);
