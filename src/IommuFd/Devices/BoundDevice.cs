using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd;

/// <summary>
/// A device that belongs to a context: the only type that has regions and interrupts. Its DMA is blocked until it is attached, and again after. The
/// binding ends when this is disposed and everything built on it (mapped BARs, interrupts, attachments) is too: no unbind before access is withdrawn.
/// </summary>
public sealed partial class BoundDevice : Resource
{
    private readonly VfioDeviceFile _file;

    private readonly VfioDeviceHandle _handle;
    private readonly ContainerGroup? _group;

    internal BoundDevice(IommuContext context, VfioDeviceFile file, VfioDeviceHandle handle, uint deviceId, ulong cookie, ContainerGroup? group)
        : base(context, file)
    {
        _handle = handle;
        _group = group;
        Context = context;
        _file = file;
        DeviceId = deviceId;
        Cookie = cookie;
        Calls = new VfioDeviceCalls(handle);
    }

    /// <summary>Who owns it.</summary>
    public IommuContext Context { get; }

    /// <summary>The kernel's id of the device in the context; 0 over containers.</summary>
    public uint DeviceId { get; }

    /// <summary>The caller's name for it.</summary>
    public ulong Cookie { get; }

    /// <summary>The PCI function, when known.</summary>
    public PciAddress? Address => _file.Address;

    /// <summary>The commands of its descriptor, one method each.</summary>
    public VfioDeviceCalls Calls { get; }

    internal IommuHost Host => _file.Host;

    internal override DescriptorHandle Descriptor => _handle;

    /// <summary>Opens a BAR for register access.</summary>
    /// <param name="index">0..5.</param>
    /// <param name="access">Mapped where the device allows it, or always through pread and pwrite.</param>
    /// <exception cref="IommuFdException">The device has no such BAR.</exception>
    public Bar OpenBar(int index, BarAccess access = BarAccess.MappedWhereAllowed)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(index, 5);
        return Bar.Open(this, (uint)index, access);
    }

    /// <summary>Opens a device-specific region for register access; numbers 0..5 are the BARs.</summary>
    /// <exception cref="IommuFdException">The device has no such region.</exception>
    public Bar OpenRegion(uint index, BarAccess access = BarAccess.MappedWhereAllowed) => Bar.Open(this, index, access);

    /// <summary>Opens the configuration space. Reads and writes go through the kernel, which keeps what it must.</summary>
    /// <exception cref="IommuFdException">The device is gone.</exception>
    public ConfigSpace OpenConfigSpace() => ConfigSpace.Open(this);

    /// <summary>Opens the expansion ROM for reading, through the kernel.</summary>
    /// <exception cref="IommuFdException">The device has none.</exception>
    public Bar OpenRom() => Bar.Open(this, 6, BarAccess.Calls);

    /// <summary>Enables interrupts of one kind and returns them. Only one of INTx, MSI and MSI-X can be enabled at a time.</summary>
    /// <param name="kind">The kind.</param>
    /// <param name="count">How many, from number 0.</param>
    /// <exception cref="IommuFdException">EINVAL the device has fewer, or another kind is enabled.</exception>
    public InterruptSet EnableInterrupts(InterruptKind kind, int count = 1) => InterruptSet.Enable(this, kind, count);

    /// <summary>VFIO_DEVICE_FEATURE_MIGRATION: opens the device's migration state machine.</summary>
    /// <exception cref="IommuFdException">ENOTTY the device cannot be migrated.</exception>
    public Migration OpenMigration() => Migration.Open(this);

    /// <summary>Resets the function alone; see <see cref="VfioDeviceCalls.Reset"/>.</summary>
    /// <exception cref="IommuFdException">EINVAL the device has no reset of its own.</exception>
    public void Reset()
    {
        Enter();
        try
        {
            Calls.Reset();
        }
        finally
        {
            Exit();
        }
    }

    // There is no unbind command: closing the descriptor is. The file object is of no use after that.
    private protected override void Free()
    {
        _handle.Dispose();
        if (_group is not null)
        {
            Context.Groups!.Release(_group);
        }

        Context.Cookies.Release(Cookie);
    }
}
