using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>
/// A group that belongs to a context over containers: open, in a container of its own, with an IOMMU set. It exists as long as a device of it is bound, and
/// what is not attached is blocked because its container is empty.
/// </summary>
internal sealed class ContainerGroup
{
    private readonly Lock _gate = new();
    private ContainerSpace? _space;
    private int _attached;

    private ContainerGroup(int number, VfioGroup group, VfioContainer container, bool isNoIommu)
    {
        Number = number;
        Group = group;
        Container = container;
        IsNoIommu = isNoIommu;
    }

    internal int Number { get; }

    internal VfioGroup Group { get; }

    internal VfioContainer Container { get; }

    internal bool IsNoIommu { get; }

    /// <summary>Devices of the group that are bound; kept by <see cref="ContainerGroups"/>.</summary>
    internal int Bound { get; set; }

    internal static ContainerGroup Open(IommuHost host, int number, bool isNoIommu)
    {
        VfioGroup group = VfioGroup.Open(host, number, isNoIommu);
        VfioContainer? container = null;
        try
        {
            container = VfioContainer.Open(host);
            group.SetContainer(container);
            container.SetIommu(isNoIommu ? Vfio.VFIO_NOIOMMU_IOMMU : container.CheckExtension(Vfio.VFIO_TYPE1v2_IOMMU) ? Vfio.VFIO_TYPE1v2_IOMMU : Vfio.VFIO_TYPE1_IOMMU);
            return new ContainerGroup(number, group, container, isNoIommu);
        }
        catch
        {
            group.Dispose(); // first: a group in use keeps its container busy
            container?.Dispose();
            throw;
        }
    }

    /// <summary>Attaches one more device of the group. 0 or -errno: the group has one address space.</summary>
    internal int Attach(ContainerSpace space)
    {
        lock (_gate)
        {
            if (_attached > 0 && _space != space)
            {
                return -Errno.EINVAL;
            }

            int result = _attached == 0 ? space.Attach(this) : 0;
            if (result >= 0)
            {
                _space = space;
                _attached++;
            }

            return result;
        }
    }

    /// <summary>Detaches one device; the last one empties the container.</summary>
    internal void Detach()
    {
        lock (_gate)
        {
            if (--_attached == 0)
            {
                _space!.Detach(this);
                _space = null;
            }
        }
    }

    internal void Close()
    {
        Group.Dispose();
        Container.Dispose();
    }
}

/// <summary>The groups of a context over containers.</summary>
internal sealed class ContainerGroups(IommuHost host)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<int, ContainerGroup> _groups = [];

    internal ContainerGroup Acquire(int number, bool isNoIommu)
    {
        lock (_gate)
        {
            if (!_groups.TryGetValue(number, out ContainerGroup? group))
            {
                _groups[number] = group = ContainerGroup.Open(host, number, isNoIommu);
            }

            group.Bound++;
            return group;
        }
    }

    internal void Release(ContainerGroup group)
    {
        lock (_gate)
        {
            if (--group.Bound == 0)
            {
                _ = _groups.Remove(group.Number);
                group.Close();
            }
        }
    }
}
