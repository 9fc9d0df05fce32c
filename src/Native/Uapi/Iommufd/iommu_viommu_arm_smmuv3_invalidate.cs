using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Entry of IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3: a command as the guest queued it.</summary>
/// <remarks>
/// Permitted: TLBI_NSNH_ALL, TLBI_NH_VA, TLBI_NH_VAA, TLBI_NH_ALL, TLBI_NH_ASID, ATC_INV, CFGI_CD and CFGI_CD_ALL; anything else is EIO.
/// </remarks>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_viommu_arm_smmuv3_invalidate
{
    /// <summary>In: the 128-bit little-endian command.</summary>
    public InlineArray2<ulong> cmd;
}
