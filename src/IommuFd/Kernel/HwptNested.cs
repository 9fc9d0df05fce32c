using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>A page table that the user manages, nested on a parent (IOMMUFD_OBJ_HWPT_NESTED).</summary>
public sealed class HwptNested : HardwareTable
{
    internal HwptNested(IommuContext context, Resource parent, uint id, FaultQueue? faults)
        : base(context, parent, id, faults)
    {
    }

    /// <summary>IOMMU_HWPT_INVALIDATE: the user changed the table; caches that hold it are flushed.</summary>
    /// <param name="type">Which struct the entries are.</param>
    /// <param name="entries">iommu_hwpt_vtd_s1_invalidate for VT-d.</param>
    /// <returns>How many entries were handled.</returns>
    /// <exception cref="IommuFdException">An entry is wrong; the evidence says how many were handled before it (unreliable when the first one
    /// was).</exception>
    public uint Invalidate<T>(iommu_hwpt_invalidate_data_type type, params ReadOnlySpan<T> entries)
        where T : unmanaged
    {
        Enter();
        try
        {
            return Context.Invalidate(Id, type, entries);
        }
        finally
        {
            Exit();
        }
    }
}
