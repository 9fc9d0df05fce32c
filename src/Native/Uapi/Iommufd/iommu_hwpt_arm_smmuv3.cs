using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Data of IOMMU_HWPT_DATA_ARM_SMMUV3: the part of a stream table entry that a guest controls.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_arm_smmuv3
{
    /// <summary>In: first two little-endian double words of the entry; a field outside the permitted set is EIO.</summary>
    public InlineArray2<ulong> ste;
}
