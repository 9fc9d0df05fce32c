using IommuFd.HwSim.Devices;
using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// Interrupts of a function in user space's hands (drivers/vfio/pci/vfio_pci_intrs.c): INTx, MSI, MSI-X, and the ERR and REQ notifications.
/// </summary>
/// <remarks>
/// The device calls <see cref="Message"/> and <see cref="Line"/> with its own lock held; both only signal eventfds. Does not model: the shared host
/// interrupt line and interrupt vectors running out.
/// </remarks>
internal sealed unsafe partial class VfioPciInterrupts(VfioPciDevice device) : IInterruptSink
{
    private const uint None = Vfio.VFIO_PCI_NUM_IRQS;
    private readonly Lock _gate = new();
    private uint _type = None;
    private EventfdContext?[] _triggers = [];
    private EventfdContext? _error;
    private EventfdContext? _request;

    /// <inheritdoc/>
    void IInterruptSink.Message(PciDevice source, int vector, ulong address, uint data)
    {
        if (source.Unit is { Its: not null } unit)
        {
            // A write like any other: what it reaches, the IOMMU says.
            _ = unit.Write(source.RequesterId, DmaRequest.NoPasid, address, &data, sizeof(uint));
            return;
        }

        Signal((uint)vector);
    }

    private void Signal(uint vector)
    {
        EventfdContext?[] triggers = Volatile.Read(ref _triggers);
        if (vector < (uint)triggers.Length)
        {
            Volatile.Read(ref triggers[vector])?.Signal();
        }
    }

    /// <summary>VFIO_DEVICE_GET_IRQ_INFO.</summary>
    public int GetInfo(ulong argument, IUserMemory user)
    {
        vfio_irq_info info;
        if (user.CopyFrom(argument, &info, (nuint)sizeof(vfio_irq_info)) < 0)
        {
            return -Errno.EFAULT;
        }

        if (info.argsz < sizeof(vfio_irq_info) || info.index >= Vfio.VFIO_PCI_NUM_IRQS)
        {
            return -Errno.EINVAL;
        }

        info.flags = Vfio.VFIO_IRQ_INFO_EVENTFD;
        info.count = Count(info.index);
        if (info.index == Vfio.VFIO_PCI_INTX_IRQ_INDEX)
        {
            info.flags |= Vfio.VFIO_IRQ_INFO_MASKABLE | Vfio.VFIO_IRQ_INFO_AUTOMASKED;
        }
        else if (info.index != Vfio.VFIO_PCI_MSIX_IRQ_INDEX || device.Function.Msix == 0)
        {
            // MSI-X vectors can be added one by one where the platform's interrupt domain can (remapped interrupts can).
            info.flags |= Vfio.VFIO_IRQ_INFO_NORESIZE;
        }

        return user.CopyTo(argument, &info, (nuint)sizeof(vfio_irq_info)) < 0 ? -Errno.EFAULT : 0;
    }

    /// <summary>VFIO_DEVICE_SET_IRQS.</summary>
    public int Set(ulong argument, IUserMemory user)
    {
        vfio_irq_set head;
        uint size = vfio_irq_set.data_offset;
        if (user.CopyFrom(argument, &head, size) < 0)
        {
            return -Errno.EFAULT;
        }

        uint count = Count(head.index);
        int error = Validate(head, count, out uint dataSize);
        if (error < 0)
        {
            return error;
        }

        byte[] data = dataSize == 0 ? [] : new byte[dataSize];
        fixed (byte* bytes = data)
        {
            // SAFETY: data is as long as what is copied.
            if (dataSize != 0 && user.CopyFrom(argument + size, bytes, dataSize) < 0)
            {
                return -Errno.EFAULT;
            }

            lock (_gate)
            {
                return Apply(head, bytes);
            }
        }
    }

    /// <summary>The kernel wants the device back: the REQ eventfd is signalled.</summary>
    public void SignalRequest()
    {
        lock (_gate)
        {
            _request?.Signal();
        }
    }

    /// <summary>The device has an error: the ERR eventfd is signalled.</summary>
    public void SignalError()
    {
        lock (_gate)
        {
            _error?.Signal();
        }
    }

    /// <summary>The device is closed: whatever kind is enabled goes.</summary>
    public void DisableAll()
    {
        lock (_gate)
        {
            if (_type == Vfio.VFIO_PCI_INTX_IRQ_INDEX)
            {
                DisableIntx();
            }
            else if (_type != None)
            {
                DisableMsi();
            }
        }
    }

    /// <summary>The device is closed: ERR and REQ go.</summary>
    public void ClearErrAndReq()
    {
        lock (_gate)
        {
            Replace(ref _error, null);
            Replace(ref _request, null);
        }
    }

    /// <summary>True while MSI is the kind in use; the enable bit of the capability is the host's otherwise.</summary>
    public bool IsMsi => _type == Vfio.VFIO_PCI_MSI_IRQ_INDEX;

    /// <summary>log2 of the vectors that MSI was enabled with.</summary>
    public int MsiMaximum { get; private set; }

    /// <summary>vfio_pci_get_irq_count.</summary>
    private uint Count(uint index)
    {
        PciFunction f = device.Function;
        return index switch
        {
            Vfio.VFIO_PCI_INTX_IRQ_INDEX => device.Config!.InterruptPin != 0 ? 1u : 0,
            Vfio.VFIO_PCI_MSI_IRQ_INDEX => f.Msi == 0 ? 0 : 1u << (int)((f.Read(f.Msi + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_QMASK) >> 1),
            Vfio.VFIO_PCI_MSIX_IRQ_INDEX => f.Msix == 0 ? 0 : (f.Read(f.Msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1,
            Vfio.VFIO_PCI_ERR_IRQ_INDEX or Vfio.VFIO_PCI_REQ_IRQ_INDEX => 1,
            _ => 0,
        };
    }

    /// <summary>vfio_set_irqs_validate_and_prepare: 0 and the bytes of data that follow the head, or -EINVAL.</summary>
    internal static int Validate(in vfio_irq_set head, uint available, out uint dataSize)
    {
        dataSize = 0;
        if (head.argsz < vfio_irq_set.data_offset || head.index >= Vfio.VFIO_PCI_NUM_IRQS || head.count >= uint.MaxValue - head.start
            || (head.flags & ~(Vfio.VFIO_IRQ_SET_DATA_TYPE_MASK | Vfio.VFIO_IRQ_SET_ACTION_TYPE_MASK)) != 0
            || head.start >= available || head.start + head.count > available)
        {
            return -Errno.EINVAL;
        }

        uint item;
        switch (head.flags & Vfio.VFIO_IRQ_SET_DATA_TYPE_MASK)
        {
            case Vfio.VFIO_IRQ_SET_DATA_NONE:
                item = 0;
                break;
            case Vfio.VFIO_IRQ_SET_DATA_BOOL:
                item = 1;
                break;
            case Vfio.VFIO_IRQ_SET_DATA_EVENTFD:
                item = 4;
                break;
            default:
                return -Errno.EINVAL;
        }

        dataSize = head.count * item;
        return head.argsz - vfio_irq_set.data_offset < dataSize ? -Errno.EINVAL : 0;
    }

    private int Apply(in vfio_irq_set head, byte* data)
    {
        uint action = head.flags & Vfio.VFIO_IRQ_SET_ACTION_TYPE_MASK;
        switch (head.index)
        {
            case Vfio.VFIO_PCI_INTX_IRQ_INDEX:
                return action switch
                {
                    Vfio.VFIO_IRQ_SET_ACTION_MASK => MaskIntx(head, data),
                    Vfio.VFIO_IRQ_SET_ACTION_UNMASK => UnmaskIntx(head, data),
                    Vfio.VFIO_IRQ_SET_ACTION_TRIGGER => TriggerIntx(head, data),
                    _ => -Errno.ENOTTY,
                };
            case Vfio.VFIO_PCI_MSI_IRQ_INDEX:
            case Vfio.VFIO_PCI_MSIX_IRQ_INDEX:
                return action == Vfio.VFIO_IRQ_SET_ACTION_TRIGGER ? TriggerMsi(head, data) : -Errno.ENOTTY;
            case Vfio.VFIO_PCI_ERR_IRQ_INDEX:
                return action == Vfio.VFIO_IRQ_SET_ACTION_TRIGGER ? TriggerSingle(ref _error, head, data) : -Errno.ENOTTY;
            case Vfio.VFIO_PCI_REQ_IRQ_INDEX:
                return action == Vfio.VFIO_IRQ_SET_ACTION_TRIGGER ? TriggerSingle(ref _request, head, data) : -Errno.ENOTTY;
            default:
                return -Errno.ENOTTY;
        }
    }

    // vfio_pci_set_ctx_trigger_single, for ERR and REQ.
    private int TriggerSingle(ref EventfdContext? trigger, in vfio_irq_set head, byte* data)
    {
        if (head.start != 0 || head.count > 1)
        {
            return -Errno.EINVAL;
        }

        switch (head.flags & Vfio.VFIO_IRQ_SET_DATA_TYPE_MASK)
        {
            case Vfio.VFIO_IRQ_SET_DATA_NONE:
                if (trigger is null)
                {
                    return -Errno.EINVAL;
                }

                if (head.count != 0)
                {
                    trigger.Signal();
                    return 0;
                }

                Replace(ref trigger, null);
                return 0;
            case Vfio.VFIO_IRQ_SET_DATA_BOOL:
                if (head.count == 0)
                {
                    return -Errno.EINVAL;
                }

                if (*data != 0)
                {
                    trigger?.Signal();
                }

                return 0;
            default:
                if (head.count == 0)
                {
                    return -Errno.EINVAL;
                }

                int descriptor = *(int*)data;
                if (descriptor < -1)
                {
                    return -Errno.EINVAL;
                }

                EventfdContext? made = null;
                if (descriptor >= 0)
                {
                    int error = device.Core.EventfdFrom(descriptor, out made);
                    if (error < 0)
                    {
                        return error;
                    }
                }

                Replace(ref trigger, made);
                return 0;
        }
    }

    private static void Replace(ref EventfdContext? trigger, EventfdContext? made)
    {
        EventfdContext? old = trigger;
        Volatile.Write(ref trigger, made);
        old?.Dispose();
    }
}
