using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>A PCI function in user space's hands (struct vfio_pci_core_device, drivers/vfio/pci/vfio_pci_core.c).</summary>
/// <remarks>
/// Does not model: the VGA region and Intel graphics regions, AtomicOps capabilities, runtime power management below D3hot (entering low power is
/// kept as a state only), AER beyond <see cref="SignalError"/>.
/// </remarks>
internal sealed partial class VfioPciDevice : VfioDevice
{
    private readonly PciTree _tree;
    private readonly bool _noIntxMask;
    private readonly StripedLock _memoryLock = new();
    private bool _resetWorks;
    private bool _needsReset;
    private bool _pci23;

    public VfioPciDevice(VfioCore core, PciTree tree, PciFunction function, bool noIntxMask)
        : base(core, function.Name, function.Iommu, function.Directory!)
    {
        _tree = tree;
        _noIntxMask = noIntxMask;
        Function = function;
        Interrupts = new VfioPciInterrupts(this);
        if (function.Sriov != 0)
        {
            Token = new VfToken();
        }
    }

    /// <summary>The function.</summary>
    public PciFunction Function { get; }

    /// <summary>Its interrupts.</summary>
    public VfioPciInterrupts Interrupts { get; }

    /// <summary>The configuration space as the user sees it; null while the device is closed.</summary>
    public VfioPciConfig? Config { get; private set; }

    /// <summary>True when the INTx disable bit works, so that the line may be shared.</summary>
    public bool HasIntxMask => _pci23;

    /// <summary>True when the function is in D0 and its memory decoding is on, as the user set it.</summary>
    public bool MemoryEnabled => Config is { } config && config.PowerState < 3 && (Function.IsVirtual || (config.Command & PCI_COMMAND_MEMORY) != 0);

    /// <inheritdoc/>
    protected override int OpenDevice()
    {
        Function.ClearMaster();
        Function.Enable();

        // A reset that fails for want of a lock would end the open; here the function is locked by nobody else.
        _resetWorks = Function.ResetFunction() == 0;
        Function.SaveOpenState();
        _pci23 = !_noIntxMask && Function.IntxMaskSupported();
        uint command = Function.Read(PCI_COMMAND, 2);
        if (_pci23 && (command & PCI_COMMAND_INTX_DISABLE) != 0)
        {
            Function.Write(PCI_COMMAND, 2, command & ~(uint)PCI_COMMAND_INTX_DISABLE);
        }

        FindMsixTable();
        Config = new VfioPciConfig(this);
        if (PhysicalDevice is { } physical)
        {
            lock (physical.Token!)
            {
                physical.Token.Users++;
            }
        }

        return 0;
    }

    /// <inheritdoc/>
    protected override void CloseDevice()
    {
        if (PhysicalDevice is { } physical)
        {
            lock (physical.Token!)
            {
                physical.Token.Users--;
            }
        }

        CleanUpDmaBufs();
        Function.Hardware.StopPolling();
        _lowPower = false;
        Function.ClearMaster();
        Interrupts.DisableAll();
        CloseIoEventfds();
        Config = null;
        _needsReset = true;

        // The state of before the open comes back, after a reset where that works.
        Function.LoadOpenState();
        Function.Write(PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
        if (_resetWorks && Function.ResetHardware() == 0)
        {
            _needsReset = false;
        }

        Function.RestoreState();
        Function.Disable();
        TryResetSet();
        Interrupts.ClearErrAndReq();
    }

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user) => request switch
    {
        Vfio.VFIO_DEVICE_GET_INFO => GetInfo(argument, user),
        Vfio.VFIO_DEVICE_GET_IRQ_INFO => Interrupts.GetInfo(argument, user),
        Vfio.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO => GetHotResetInfo(argument, user),
        Vfio.VFIO_DEVICE_IOEVENTFD => IoEventfd(argument, user),
        Vfio.VFIO_DEVICE_PCI_HOT_RESET => HotReset(argument, user),
        Vfio.VFIO_DEVICE_RESET => Reset(),
        Vfio.VFIO_DEVICE_SET_IRQS => Interrupts.Set(argument, user),
        _ => -Errno.ENOTTY,
    };

    /// <inheritdoc/>
    public override void Request(uint count) => Interrupts.SignalRequest();

    /// <summary>An error of the device is reported (AER): the ERR eventfd is signalled.</summary>
    public void SignalError() => Interrupts.SignalError();

    /// <summary>Tries to reset the function with memory locked; the user's BAR mappings stay valid. 0 or -errno.</summary>
    public int TryResetFunction()
    {
        using (_memoryLock.Write())
        {
            MoveDmaBufs(revoked: true);
            int result = Function.ResetFunction();
            MoveDmaBufs(revoked: !MemoryEnabled);
            return result;
        }
    }

    /// <summary>down_write of the memory lock; the BARs' exports are revoked while it is held when <paramref name="revoke"/>.</summary>
    public IDisposable LockMemory(bool revoke)
    {
        _memoryLock.Enter();
        if (revoke)
        {
            MoveDmaBufs(revoked: true);
        }

        return new MemoryLocked(this);
    }

    private int Reset() => _resetWorks ? TryResetFunction() : -Errno.EINVAL;

    private unsafe int GetInfo(ulong argument, IUserMemory user)
    {
        const uint minimum = 16; // through num_irqs
        vfio_device_info info = default;
        if (user.CopyFrom(argument, &info, minimum) < 0)
        {
            return -Errno.EFAULT;
        }

        if (info.argsz < minimum)
        {
            return -Errno.EINVAL;
        }

        uint size = Math.Min(info.argsz, (uint)sizeof(vfio_device_info));
        info.flags = Vfio.VFIO_DEVICE_FLAGS_PCI | (_resetWorks ? Vfio.VFIO_DEVICE_FLAGS_RESET : 0);
        info.num_regions = Vfio.VFIO_PCI_NUM_REGIONS;
        info.num_irqs = Vfio.VFIO_PCI_NUM_IRQS;
        return user.CopyTo(argument, &info, size) < 0 ? -Errno.EFAULT : 0;
    }

    private sealed class MemoryLocked(VfioPciDevice device) : IDisposable
    {
        public void Dispose()
        {
            device.MoveDmaBufs(revoked: !device.MemoryEnabled);
            device._memoryLock.Exit();
        }
    }
}
