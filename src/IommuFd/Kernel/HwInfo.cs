using System.Runtime.InteropServices;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>IOMMU_GET_HW_INFO: the IOMMU behind a device.</summary>
/// <param name="Type">Whose registers <paramref name="Data"/> holds.</param>
/// <param name="Capabilities">What does not depend on the vendor.</param>
/// <param name="MaxPasidLog2">Width of PASIDs in bits, 0 without PASID support.</param>
/// <param name="Data">The raw registers: iommu_hw_info_vtd, iommu_hw_info_arm_smmuv3, iommu_hw_info_tegra241_cmdqv or iommu_hw_info_amd.</param>
public sealed record HwInfo(iommu_hw_info_type Type, iommufd_hw_capabilities Capabilities, byte MaxPasidLog2, ReadOnlyMemory<byte> Data)
{
    /// <summary>Reads <see cref="Data"/> as its struct; what the kernel did not give is zero.</summary>
    public T As<T>()
        where T : unmanaged
    {
        T value = default;
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<T>(ref value));
        Data.Span[..Math.Min(Data.Length, bytes.Length)].CopyTo(bytes);
        return value;
    }
}
