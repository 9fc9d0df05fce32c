namespace IommuFd.Native.Uapi;

/// <summary>Types and subtypes of device-specific regions (vfio_region_info_cap_type).</summary>
public static partial class Vfio
{
    /// <summary>The low 16 bits of the type are a PCI vendor id.</summary>
    public const uint VFIO_REGION_TYPE_PCI_VENDOR_TYPE = 1u << 31;

    /// <summary>Mask of that vendor id.</summary>
    public const uint VFIO_REGION_TYPE_PCI_VENDOR_MASK = 0xffff;

    /// <summary>Graphics.</summary>
    public const uint VFIO_REGION_TYPE_GFX = 1;

    /// <summary>s390 channel I/O.</summary>
    public const uint VFIO_REGION_TYPE_CCW = 2;

    /// <summary>Migration, first version; deprecated.</summary>
    public const uint VFIO_REGION_TYPE_MIGRATION_DEPRECATED = 3;

    /// <summary>Vendor 8086: OpRegion of the integrated graphics.</summary>
    public const uint VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION = 1;

    /// <summary>Vendor 8086: configuration space of the host bridge.</summary>
    public const uint VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG = 2;

    /// <summary>Vendor 8086: configuration space of the LPC bridge.</summary>
    public const uint VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG = 3;

    /// <summary>Vendor 10de: NVLink2 memory; no longer provided.</summary>
    public const uint VFIO_REGION_SUBTYPE_NVIDIA_NVLINK2_RAM = 1;

    /// <summary>Vendor 1014: address translation shootdown; no longer provided.</summary>
    public const uint VFIO_REGION_SUBTYPE_IBM_NVLINK2_ATSD = 1;

    /// <summary>Graphics: vfio_region_gfx_edid.</summary>
    public const uint VFIO_REGION_SUBTYPE_GFX_EDID = 1;

    /// <summary>Channel I/O: asynchronous commands.</summary>
    public const uint VFIO_REGION_SUBTYPE_CCW_ASYNC_CMD = 1;

    /// <summary>Channel I/O: subchannel information block.</summary>
    public const uint VFIO_REGION_SUBTYPE_CCW_SCHIB = 2;

    /// <summary>Channel I/O: channel report words.</summary>
    public const uint VFIO_REGION_SUBTYPE_CCW_CRW = 3;

    /// <summary>Migration, first version: vfio_device_migration_info.</summary>
    public const uint VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED = 1;
}
