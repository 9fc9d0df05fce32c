using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>Driver-specific data that user space passes with an allocation (struct iommu_user_data).</summary>
/// <param name="Type">Which struct it is.</param>
/// <param name="Address">User address.</param>
/// <param name="Length">Bytes that user space has.</param>
/// <param name="User">The caller's memory.</param>
public readonly record struct IommuUserData(uint Type, ulong Address, uint Length, IUserMemory User)
{
    /// <summary>iommu_copy_struct_from_user: checks the type, then the length, then copies.</summary>
    /// <typeparam name="T">The struct.</typeparam>
    /// <param name="type">The type that the driver takes.</param>
    /// <param name="minimum">Least length in bytes.</param>
    /// <param name="value">The struct, zero where user space had no bytes.</param>
    /// <returns>0, -EINVAL for another type, a short or a long struct; -EFAULT.</returns>
    public unsafe int Copy<T>(uint type, uint minimum, out T value)
        where T : unmanaged
    {
        value = default;
        if (Type != type || Length < minimum || Length > (uint)sizeof(T))
        {
            return -Errno.EINVAL;
        }

        // SAFETY: value is ours and T has no references.
        fixed (T* p = &value)
        {
            return UserCopy.StructFrom(User, p, (nuint)sizeof(T), Address, Length);
        }
    }
}

/// <summary>An array of driver-specific requests (struct iommu_user_data_array).</summary>
/// <param name="Type">Which struct an entry is.</param>
/// <param name="Address">User address of the first entry.</param>
/// <param name="EntryLength">Bytes from entry to entry.</param>
/// <param name="EntryCount">In: entries. Out: entries that were handled.</param>
/// <param name="User">The caller's memory.</param>
public record struct IommuUserDataArray(uint Type, ulong Address, uint EntryLength, uint EntryCount, IUserMemory User)
{
    /// <summary>iommu_copy_struct_from_user_array: one entry, with the rules of <see cref="IommuUserData.Copy"/>.</summary>
    public readonly int Copy<T>(uint type, uint index, uint minimum, out T value)
        where T : unmanaged
    {
        value = default;
        if (index >= EntryCount)
        {
            return -Errno.EINVAL;
        }

        return new IommuUserData(Type, Address + ((ulong)EntryLength * index), EntryLength, User).Copy(type, minimum, out value);
    }
}
