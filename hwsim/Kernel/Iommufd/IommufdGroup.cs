namespace IommuFd.HwSim.Kernel;

/// <summary>
/// What an iommufd keeps about an IOMMU group of which it has a device (struct iommufd_group). A device without an IOMMU has one to itself.
/// </summary>
internal sealed class IommufdGroup(IommufdContext context, IommuGroup? group)
{
    private readonly SortedList<uint, IommufdAttach> _attaches = [];

    internal int References = 1;

    internal IommufdContext Context { get; } = context;

    internal IommuGroup? Group { get; } = group;

    internal Lock Lock { get; } = new();

    /// <summary>First IOVA of the window in which the kernel maps interrupt doorbells; null until a device that has one is attached.</summary>
    internal ulong? SwMsiStart { get; set; }

    /// <summary>The doorbell pages that interrupts of the group's devices were set up with, a bit for each page of the file.</summary>
    internal ulong RequiredSwMsi { get; set; }

    /// <summary>True while a PASID other than 0 is attached.</summary>
    internal bool HasPasids => _attaches.Count != 0 && _attaches.Keys[^1] != IommuGroup.NoPasid;

    internal IommufdAttach? Attach(uint pasid) => _attaches.GetValueOrDefault(pasid);

    internal void SetAttach(uint pasid, IommufdAttach attach) => _attaches[pasid] = attach;

    internal void RemoveAttach(uint pasid) => _attaches.Remove(pasid);
}

/// <summary>The table that a group, or one of its PASIDs, is attached to, and the devices that asked for it.</summary>
internal sealed class IommufdAttach(HwPagetable hwpt)
{
    internal HwPagetable Hwpt { get; set; } = hwpt;

    internal List<IommufdDevice> Devices { get; } = [];
}

/// <summary>The attachment as page requests find it (struct iommufd_attach_handle).</summary>
internal sealed class IommufdAttachHandle(IommufdDevice device) : IommuAttachHandle
{
    internal IommufdDevice Device { get; } = device;
}
