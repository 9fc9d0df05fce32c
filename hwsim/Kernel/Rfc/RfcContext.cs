using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>An open /dev/iommu of the proposal (struct iommu_ctx): the devices bound to it by cookie, and its I/O address spaces by IOASID.</summary>
/// <remarks>Bound devices keep it alive after its descriptor is closed.</remarks>
internal sealed unsafe partial class RfcContext : SimulatedFile
{
    private readonly Dictionary<ulong, RfcDevice> _devices = [];
    private readonly SortedList<int, RfcIoasid> _ioasids = [];

    internal RfcContext(RfcModule module)
    {
        Module = module;
        Pools = module.OpenPools();
    }

    /// <summary>The machine's /dev/iommu.</summary>
    internal RfcModule Module { get; }

    /// <summary>Where address maps get areas and pages.</summary>
    internal IommufdContext Pools { get; }

    /// <summary>
    /// The contract with KVM: true when no-snoop DMA of a device bound here may reach memory, so that a guest's cache flushes must be real.
    /// </summary>
    internal bool HasNoncoherentDma => _devices.Values.Any(static d => d.HasNoncoherentDma);

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user)
    {
        lock (Module.Lock)
        {
            return request switch
            {
                Rfc.IOMMU_CHECK_EXTENSION => CheckExtension(argument),
                Rfc.IOMMU_DEVICE_GET_INFO => DeviceGetInfo(argument, user),
                Rfc.IOMMU_IOASID_ALLOC => IoasidAlloc(argument, user),
                Rfc.IOMMU_IOASID_FREE => IoasidFree(argument, user),
                Rfc.IOMMU_MAP_DMA => MapDma(argument, user),
                Rfc.IOMMU_UNMAP_DMA => UnmapDma(argument, user),
                Rfc.IOMMU_INVALIDATE_CACHE => InvalidateCache(argument, user),
                Rfc.IOMMU_IOASID_FAULT_REGION => FaultRegion(argument, user),
                Rfc.IOMMU_IOASID_FAULT_COMPLETE => FaultComplete(argument, user),
                Rfc.IOMMU_IOASID_DIRTY => Dirty(argument, user),
                _ => -Errno.ENOTTY,
            };
        }
    }

    /// <summary>The device that the user named so; null for none.</summary>
    internal RfcDevice? FindDevice(ulong cookie) => _devices.GetValueOrDefault(cookie);

    /// <summary>The address space of an IOASID; null for none.</summary>
    internal RfcIoasid? FindIoasid(int ioasid) => _ioasids.GetValueOrDefault(ioasid);

    /// <summary>iommu_register_device: -EBUSY for a cookie, or a device, that is bound here already.</summary>
    internal int Register(RfcDevice device)
    {
        if (_devices.ContainsKey(device.Cookie) || _devices.Values.Any(d => d.Vfio == device.Vfio))
        {
            return -Errno.EBUSY;
        }

        _devices.Add(device.Cookie, device);
        Get();
        return 0;
    }

    /// <summary>iommu_unregister_device. The context may be gone afterwards.</summary>
    internal void Unregister(RfcDevice device)
    {
        _devices.Remove(device.Cookie);
        Put();
    }

    /// <inheritdoc/>
    protected override void Release()
    {
        lock (Module.Lock)
        {
            // Children before their parents: nothing is attached any more.
            while (_ioasids.Values.FirstOrDefault(static i => i.Children.Count == 0) is { } leaf)
            {
                _ioasids.Remove(leaf.Id);
                leaf.Free();
            }
        }

        Pools.Put();
    }

    /// <summary>Copies a struct whose first word is its size: too small a one is -EINVAL, a larger one must end in zeros.</summary>
    internal static int CopyArgument<T>(ulong argument, IUserMemory user, out T value)
        where T : unmanaged
    {
        value = default;
        uint size;
        if (user.CopyFrom(argument, &size, sizeof(uint)) < 0)
        {
            return -Errno.EFAULT;
        }

        if (size < (uint)sizeof(T))
        {
            return -Errno.EINVAL;
        }

        // SAFETY: value is ours and T has no references.
        fixed (T* p = &value)
        {
            return UserCopy.StructFrom(user, p, (nuint)sizeof(T), argument, size);
        }
    }
}
