using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A user's table of context descriptors on top of a stage 2: all substreams of one device. DMA without a substream stays in the stage 2 (S1DSS =
/// bypass).
/// </summary>
internal sealed class SmmuUserTableDomain(SmmuOps owner, SmmuStage2Domain stage2, ulong table, int substreamBits)
    : IommuDomain(IommuDomainType.Nested, owner), ISmmuAttached, IUserTableDomain
{
    private ushort? _stream;

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((SmmuOps)Owner).DriverOf(device);
        if (driver != stage2.Driver)
        {
            return -Errno.EINVAL;
        }

        // A linear table, at an intermediate address; both stages.
        const ulong Valid = 1, Both = 7 << 1, Bypass = 1, Cacheable = (1 << 2) | (1 << 4) | (3 << 6), NoStalls = 1 << 27;
        ReadOnlySpan<ulong> lower = stage2.StreamEntry;
        var rc = driver.SetStream(
            device.RequesterId,
            [Valid | Both | table | ((ulong)substreamBits << 59), lower[1] | Bypass | Cacheable | NoStalls, lower[2], lower[3]]);
        if (rc != 0)
        {
            return rc;
        }

        (old as ISmmuAttached)?.Detach(device);
        _stream = device.RequesterId;
        return 0;
    }

    public void Detach(IommuDevice device)
    {
        stage2.Driver.InvalidateVmid(stage2.Vmid);
        _stream = null;
    }

    public void Invalidate(in UserTableChange change)
    {
        const ulong Descriptor = 0x05, AllDescriptors = 0x06, AllPages = 0x10, Pages = 0x13, Leaf = 1;
        if (_stream is not { } stream || (change.Device != null && change.Device.RequesterId != stream))
        {
            return;
        }

        var commands = new List<(ulong, ulong)>();
        if (change.Has(Rfc.IOMMU_CACHE_INV_TYPE_PASID))
        {
            commands.Add(change.Pasid is { } pasid
                ? (Descriptor | ((ulong)pasid << 12) | ((ulong)stream << 32), Leaf)
                : (AllDescriptors | ((ulong)stream << 32), 0));
        }

        // The guest's ASIDs are not told, so that addresses are invalidated in all of them.
        var vmid = (ulong)stage2.Vmid << 32;
        var isRange = change.Last != ulong.MaxValue;
        if (change.Has(Rfc.IOMMU_CACHE_INV_TYPE_IOTLB) && !isRange)
        {
            commands.Add((AllPages | vmid, 0));
        }

        stage2.Driver.Issue(commands);
        if (change.Has(Rfc.IOMMU_CACHE_INV_TYPE_IOTLB) && isRange)
        {
            stage2.Driver.InvalidatePages(Pages | vmid, change.First, change.Last);
        }
    }
}
