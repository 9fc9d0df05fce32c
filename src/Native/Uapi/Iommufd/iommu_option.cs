using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Options that IOMMU_OPTION reads and writes.</summary>
public enum iommufd_option : uint
{
    /// <summary>
    /// Locked-memory accounting: 0 per user, 1 per process. For the context (object_id 0), needs privilege, only before any object exists.
    /// </summary>
    IOMMU_OPTION_RLIMIT_MODE = 0,

    /// <summary>1 (default): large pages where possible; 0: page size only. For one address space.</summary>
    IOMMU_OPTION_HUGE_PAGES = 1,
}

/// <summary>What IOMMU_OPTION does.</summary>
public enum iommufd_option_ops : uint
{
    /// <summary>Write the option.</summary>
    IOMMU_OPTION_OP_SET = 0,

    /// <summary>Read the option.</summary>
    IOMMU_OPTION_OP_GET = 1,
}

/// <summary>Argument of IOMMU_OPTION: reads or writes one option.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct iommu_option
{
    /// <summary>In: size of this struct in bytes.</summary>
    public uint size;

    /// <summary>In: iommufd_option.</summary>
    public uint option_id;

    /// <summary>In: iommufd_option_ops.</summary>
    public ushort op;

    /// <summary>Must be 0.</summary>
    public ushort __reserved;

    /// <summary>In: object the option belongs to, 0 for the context.</summary>
    public uint object_id;

    /// <summary>In on set, out on get: the value.</summary>
    public ulong val64;
}
