using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Data of IOMMU_HWPT_DATA_AMD_GUEST: a guest's device table entry.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_amd_guest
{
    /// <summary>In: the 256-bit entry.</summary>
    public InlineArray4<ulong> dte;
}
