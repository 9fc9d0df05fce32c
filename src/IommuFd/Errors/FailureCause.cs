namespace IommuFd;

/// <summary>What an error number means for the operation that got it; see <see cref="IommuFdException.Explanation"/> for the sentence.</summary>
public enum FailureCause
{
    /// <summary>The table has no row for this operation and number: the C library's sentence is all there is.</summary>
    Other,

    /// <summary>The node does not exist.</summary>
    NoSuchNode,

    /// <summary>The caller may not open or do this.</summary>
    NoPermission,

    /// <summary>The kernel (or this host) does not know the command.</summary>
    CommandUnknown,

    /// <summary>The command is known, the requested feature is not there.</summary>
    NotSupported,

    /// <summary>A newer struct than this kernel knows carried a value in its unknown part.</summary>
    UnknownField,

    /// <summary>No such object, or one of another type.</summary>
    NoSuchObject,

    /// <summary>The object is in use by others.</summary>
    ObjectInUse,

    /// <summary>The function exists but is not bound to a VFIO driver.</summary>
    NotBoundToVfio,

    /// <summary>The VFIO driver is there but gives no character device.</summary>
    NoCharacterDevice,

    /// <summary>Somebody else has the device, its group or its character device open.</summary>
    DeviceBusy,

    /// <summary>Another member of the IOMMU group belongs to a driver that does DMA for the host, or to another owner.</summary>
    GroupNotViable,

    /// <summary>Interrupts of the device are not isolated by the IOMMU.</summary>
    InterruptsNotIsolated,

    /// <summary>The group's domain is not the default one.</summary>
    GroupDomainInUse,

    /// <summary>The IOMMU cannot enforce cache coherency, the file came from a group, or it is bound already.</summary>
    CannotBind,

    /// <summary>The VF token is missing or wrong.</summary>
    WrongVfToken,

    /// <summary>A bound device carries this cookie already.</summary>
    DuplicateCookie,

    /// <summary>The address or length is not aligned, or lies in a reserved range.</summary>
    IovaNotPermitted,

    /// <summary>Something is mapped there already.</summary>
    IovaTaken,

    /// <summary>The range wraps around the end of the address space.</summary>
    IovaWraps,

    /// <summary>No free range of that size.</summary>
    NoIovaSpace,

    /// <summary>The user memory is not there or cannot be pinned.</summary>
    MemoryNotPinnable,

    /// <summary>Write access was asked on memory that is read-only.</summary>
    ReadOnlyMemory,

    /// <summary>The locked-memory limit is reached.</summary>
    LockedMemoryLimit,

    /// <summary>No memory.</summary>
    NoMemory,

    /// <summary>Nothing is mapped there, or the range would cut a mapping.</summary>
    NotMapped,

    /// <summary>A mapping is held by an access, a hardware queue or a racing call.</summary>
    MappingBusy,

    /// <summary>A reserved range of a device meets a mapping or an allowed range.</summary>
    ReservedRangeConflict,

    /// <summary>The device's group has another table attached.</summary>
    GroupTableDiffers,

    /// <summary>The device or its IOMMU cannot use this table.</summary>
    IncompatibleTable,

    /// <summary>The option can only be set before the first object exists.</summary>
    TooLate,

    /// <summary>The device is gone.</summary>
    DeviceGone,

    /// <summary>The device offers fewer regions or interrupts than asked for.</summary>
    OutOfRange,

    /// <summary>This host shows files and does nothing.</summary>
    ReadOnlyHost,

    /// <summary>A description of a host (topology, capture) cannot be read.</summary>
    BadHostDescription,
}
