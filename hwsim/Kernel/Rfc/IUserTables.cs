using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>A format of user-managed tables that a unit walks.</summary>
/// <param name="Format">The format.</param>
/// <param name="IsPasidTable">True for a table of PASIDs, false for one page table.</param>
/// <param name="AddressWidth">Widest input in bits; of a PASID table with the PASID on top of 64 bits of address.</param>
internal readonly record struct UserTableFormat(iommu_ioasid_format Format, bool IsPasidTable, uint AddressWidth);

/// <summary>A user-managed table.</summary>
/// <param name="Format">Its format.</param>
/// <param name="Address">Where it is, in the parent's address space.</param>
/// <param name="AddressWidth">Bits of input, as in <see cref="UserTableFormat"/>.</param>
internal readonly record struct UserTable(iommu_ioasid_format Format, ulong Address, uint AddressWidth);

/// <summary>What of a user-managed table changed.</summary>
/// <param name="Cache">IOMMU_CACHE_INV_TYPE_*.</param>
/// <param name="Device">Only this device; null for all.</param>
/// <param name="Pasid">Only this PASID of a PASID table; null for all.</param>
/// <param name="First">First address.</param>
/// <param name="Last">Last address.</param>
internal readonly record struct UserTableChange(uint Cache, IommuDevice? Device, uint? Pasid, ulong First, ulong Last)
{
    /// <summary>True when a kind of cache is meant.</summary>
    public bool Has(uint cache) => (Cache & cache) != 0;
}

/// <summary>A driver whose units walk a user's table and, below it, a parent's.</summary>
internal interface IUserTables
{
    /// <summary>The formats that a device's unit takes.</summary>
    IReadOnlyList<UserTableFormat> UserTables(IommuDevice device);

    /// <summary>Makes the kernel's table below a user's, with dirty tracking where that can be.</summary>
    int AllocParent(IommuDevice device, out IommuDomain? domain);

    /// <summary>Makes a domain of a user's table over a nest parent; it is an <see cref="IUserTableDomain"/>.</summary>
    int AllocUserTable(IommuDevice device, IommuDomain parent, in UserTable table, out IommuDomain? domain);
}

/// <summary>The domain of a user-managed table.</summary>
internal interface IUserTableDomain
{
    /// <summary>Invalidates what the unit has cached of the table.</summary>
    void Invalidate(in UserTableChange change);
}
