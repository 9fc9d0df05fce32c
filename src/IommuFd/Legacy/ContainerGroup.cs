using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>
/// A group that belongs to a context over containers: open, in a container of its own, with an IOMMU set. It exists as long as a device of it is
/// bound, and what is not attached is blocked because its container is empty.
/// </summary>
internal sealed class ContainerGroup
{
    private readonly Lock _gate = new();
    private readonly HashSet<BoundDevice> _attached = [];
    private ContainerSpace? _space;

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
            container.SetIommu(isNoIommu
                ? Vfio.VFIO_NOIOMMU_IOMMU
                : container.CheckExtension(Vfio.VFIO_TYPE1v2_IOMMU) ? Vfio.VFIO_TYPE1v2_IOMMU
                : Vfio.VFIO_TYPE1_IOMMU);
            return new ContainerGroup(number, group, container, isNoIommu);
        }
        catch
        {
            group.Dispose(); // first: a group in use keeps its container busy
            container?.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Lets a device of the group reach a space, or with null nothing. 0 or -errno: the group has one container and so one address space. A device
    /// that is alone in it can go from one space to the next; its DMA is blocked for the time that takes.
    /// </summary>
    internal int Switch(BoundDevice device, ContainerSpace? space)
    {
        lock (_gate)
        {
            bool alone = _attached.Count == (_attached.Contains(device) ? 1 : 0);
            if (space is null)
            {
                if (_attached.Remove(device) && alone)
                {
                    _space!.Detach(this);
                    _space = null;
                }

                return 0;
            }

            if (_space == space)
            {
                _ = _attached.Add(device);
                return 0;
            }

            if (!alone)
            {
                return -Errno.EINVAL;
            }

            ContainerSpace? before = _space;
            before?.Detach(this);
            int result = space.Attach(this);
            if (result < 0)
            {
                _space = before?.Attach(this) >= 0 ? before : null;
                _ = _space is null ? _attached.Remove(device) : false;
                return result;
            }

            _space = space;
            _ = _attached.Add(device);
            return 0;
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
