namespace IommuFd.HwSim.Kernel;

/// <summary>An open /dev/vfio/vfio: groups whose devices share one I/O address space.</summary>
internal abstract class VfioContainer : SimulatedFile
{
    /// <summary>A group joins. Its lock is held.</summary>
    public abstract int Attach(VfioGroup group);

    /// <summary>A group leaves. Its lock is held.</summary>
    public abstract void Detach(VfioGroup group);

    /// <summary>A device of the group is opened.</summary>
    public abstract int Use(VfioGroup group);

    /// <summary>A device is opened: its driver hears of unmaps.</summary>
    public abstract void Register(VfioDevice device);

    /// <summary>A device is closed.</summary>
    public abstract void Unregister(VfioDevice device);
}
