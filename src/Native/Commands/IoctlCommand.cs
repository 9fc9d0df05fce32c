using System.Diagnostics.CodeAnalysis;

namespace IommuFd.Native;

/// <summary>The three user interfaces side by side. Request numbers collide between them.</summary>
public enum IoctlDialect
{
    /// <summary>/dev/iommu of Linux 6.2 and later.</summary>
    Iommufd,

    /// <summary>VFIO: containers, groups, devices.</summary>
    Vfio,

    /// <summary>The /dev/iommu proposal of 2021, in the numbering of July (RFC v2) and that of September.</summary>
    Rfc,
}

/// <summary>Kind of file a command belongs to. Request numbers are unique per dialect and kind of file.</summary>
public enum IoctlFile
{
    /// <summary>/dev/iommu.</summary>
    Iommu,

    /// <summary>/dev/vfio/vfio.</summary>
    VfioContainer,

    /// <summary>/dev/vfio/N.</summary>
    VfioGroup,

    /// <summary>A VFIO device: /dev/vfio/devices/vfioN or a descriptor from its group.</summary>
    VfioDevice,

    /// <summary>The data stream of a migrating device.</summary>
    VfioMigrationData,

    /// <summary>A KVM virtual machine.</summary>
    KvmVm,
}

/// <summary>How the third argument of ioctl is meant.</summary>
public enum IoctlPassing
{
    /// <summary>Not used.</summary>
    None,

    /// <summary>A number.</summary>
    Value,

    /// <summary>The address of <see cref="IoctlCommand.Argument"/>.</summary>
    Pointer,

    /// <summary>The address of a NUL-terminated string.</summary>
    CString,
}

/// <summary>One ioctl: everything that can be said about it without calling it.</summary>
/// <param name="Name">The kernel's (or the proposal's) name.</param>
/// <param name="Request">Request number.</param>
/// <param name="File">Kind of file it belongs to.</param>
/// <param name="Passing">How the argument is passed.</param>
/// <param name="MinimumSize">Smallest argument in bytes that the kernel accepts, 0 without a pointer argument.</param>
/// <param name="FullSize">Size in bytes of <paramref name="Argument"/>, without data that may follow it; 0 without a pointer argument.</param>
/// <param name="Since">First kernel that has it; null when it was never merged.</param>
/// <param name="Argument">Struct (or integer) the argument points to, if any.</param>
public readonly record struct IoctlCommand(
    string Name, uint Request, IoctlFile File, IoctlPassing Passing, uint MinimumSize, uint FullSize, KernelVersion? Since,
    [property: DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicFields | DynamicallyAccessedMemberTypes.NonPublicFields)]
    [param: DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicFields | DynamicallyAccessedMemberTypes.NonPublicFields)]
    Type? Argument);
