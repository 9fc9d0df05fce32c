using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Data of IOMMU_HW_INFO_TYPE_AMD: raw feature registers (AMD I/O Virtualization Technology specification, MMIO 0030h and 01A0h).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hw_info_amd
{
    /// <summary>Out: extended feature register. GTSup, GASup, GioSup, PPRSup, EPHSup, GATS, GLX and PASmax may be shown to a guest.</summary>
    public ulong efr;

    /// <summary>Out: extended feature 2 register.</summary>
    public ulong efr2;
}
