using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A device whose driver mediates all of its DMA (vfio_register_emulated_iommu_dev): no IOMMU translates for it, its driver reads and writes the
/// address space that it is attached to.
/// </summary>
internal abstract class EmulatedVfioDevice(VfioCore core, string name, IommuDevice iommu, DirectoryNode directory)
    : VfioDevice(core, name, iommu, directory)
{
    /// <summary>The way into the address space.</summary>
    protected IommufdAccess? Access { get; private set; }

    /// <inheritdoc/>
    public override bool HasPasids => false;

    /// <inheritdoc/>
    public override int AttachIoas(ref uint pageTableId)
    {
        if (Access is null)
        {
            return -Errno.EINVAL;
        }

        int error = IommufdAttached ? Access.Replace(pageTableId) : Access.Attach(pageTableId);
        IommufdAttached |= error == 0;
        return error;
    }

    /// <inheritdoc/>
    public override void DetachIoas()
    {
        if (IommufdAttached)
        {
            Access!.Detach();
            IommufdAttached = false;
        }
    }

    /// <summary>A range of the address space is being unmapped: pages that the driver pinned there must be let go.</summary>
    protected virtual void OnUnmap(ulong iova, ulong length)
    {
    }

    /// <inheritdoc/>
    protected override int BindIommufd(VfioDeviceFile file)
    {
        Access = file.Iommufd!.CreateAccess(pinsPages: true, OnUnmap);
        file.DeviceId = Access.Id;
        return 0;
    }

    /// <inheritdoc/>
    protected override void UnbindIommufd()
    {
        Access?.Destroy();
        Access = null;
        IommufdAttached = false;
    }
}
