using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Data of IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV: fields of the PARAM register of NVIDIA's command-queue extension.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hw_info_tegra241_cmdqv
{
    /// <summary>Out: 0.</summary>
    public uint flags;

    /// <summary>Out: hardware version, PARAM bits 3:0.</summary>
    public byte version;

    /// <summary>Out: log2 of the number of virtual command queues, PARAM bits 7:4.</summary>
    public byte log2vcmdqs;

    /// <summary>Out: log2 of the number of stream-id replacements, PARAM bits 15:12.</summary>
    public byte log2vsids;

    /// <summary>Must be 0.</summary>
    public byte __reserved;
}
