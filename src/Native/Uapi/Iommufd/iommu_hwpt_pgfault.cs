using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Flags of a reported page fault.</summary>
[Flags]
public enum iommu_hwpt_pgfault_flags : uint
{
    /// <summary>The request carried a PASID.</summary>
    IOMMU_PGFAULT_FLAGS_PASID_VALID = 1 << 0,

    /// <summary>Last fault of its group: it is the one to answer.</summary>
    IOMMU_PGFAULT_FLAGS_LAST_PAGE = 1 << 1,
}

/// <summary>Access that a page fault asks for.</summary>
[Flags]
public enum iommu_hwpt_pgfault_perm : uint
{
    /// <summary>Read.</summary>
    IOMMU_PGFAULT_PERM_READ = 1 << 0,

    /// <summary>Write.</summary>
    IOMMU_PGFAULT_PERM_WRITE = 1 << 1,

    /// <summary>Execute (PCIe 10.4.1, Execute Requested).</summary>
    IOMMU_PGFAULT_PERM_EXEC = 1 << 2,

    /// <summary>Privileged mode (PCIe 10.4.1, Privileged Mode Requested).</summary>
    IOMMU_PGFAULT_PERM_PRIV = 1 << 3,
}

/// <summary>Record read from a fault queue: one page request of a device.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_hwpt_pgfault
{
    /// <summary>Out: iommu_hwpt_pgfault_flags.</summary>
    public uint flags;

    /// <summary>Out: device that asked.</summary>
    public uint dev_id;

    /// <summary>Out: PASID, when the flag says so.</summary>
    public uint pasid;

    /// <summary>Out: page request group index.</summary>
    public uint grpid;

    /// <summary>Out: iommu_hwpt_pgfault_perm.</summary>
    public uint perm;

    /// <summary>0.</summary>
    public uint __reserved;

    /// <summary>Out: faulting address.</summary>
    public ulong addr;

    /// <summary>Out: hint of how many bytes the device will want, 0 without one.</summary>
    public uint length;

    /// <summary>Out: the kernel's name of the fault group; copy it into the response.</summary>
    public uint cookie;
}
