using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A driver of the host that makes mediated devices of a function with PASIDs (Scalable IOV): one type for each way in which a mediated device has
/// PASIDs. The function's own DMA stays the host's.
/// </summary>
internal sealed class RfcMdevParent(VfioCore core, RfcModule module, string name, PciFunction parent) : IMdevParent
{
    private const int Most = 16;
    private int _left = Most;

    /// <inheritdoc/>
    public string Name => name;

    /// <inheritdoc/>
    public IReadOnlyList<MdevType> Types { get; } =
    [
        new("sw", "Mediated in software"),
        new("default", "Isolated by its default PASID"),
        new("pasid", "With PASIDs of the user"),
        new("enqcmd", "With PASIDs of the user, also in CPU instructions"),
    ];

    /// <inheritdoc/>
    public int Available(MdevType type) => Volatile.Read(ref _left);

    /// <inheritdoc/>
    public int Probe(MdevType type, string name, DirectoryNode directory, out VfioDevice? device)
    {
        device = null;
        if (Interlocked.Decrement(ref _left) < 0)
        {
            Interlocked.Increment(ref _left);
            return -Errno.ENOSPC;
        }

        RfcPasidType pasids = type.Id switch
        {
            "sw" => RfcPasidType.Software,
            "default" => RfcPasidType.Mediated,
            "pasid" => RfcPasidType.MediatedPasid,
            _ => RfcPasidType.MediatedEnqcmd,
        };
        uint defaultPasid = 0;
        if (pasids != RfcPasidType.Software)
        {
            lock (module.Lock)
            {
                defaultPasid = module.Pasids.Allocate(parent.Iommu.Group!);
            }
        }

        var mdev = new RfcMdev(core, module, name, directory, parent, pasids, defaultPasid);
        int error = core.Register(mdev, null, emulated: true);
        if (error < 0)
        {
            Free(defaultPasid);
            return error;
        }

        device = mdev;
        return 0;
    }

    /// <inheritdoc/>
    public void Remove(VfioDevice device) => Free(((RfcMdev)device).DefaultPasid);

    private void Free(uint defaultPasid)
    {
        if (defaultPasid != 0)
        {
            lock (module.Lock)
            {
                module.Pasids.Free(parent.Iommu.Group!, defaultPasid);
            }
        }

        Interlocked.Increment(ref _left);
    }
}
