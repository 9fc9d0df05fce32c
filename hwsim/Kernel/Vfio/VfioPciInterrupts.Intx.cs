using IommuFd.HwSim.Devices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>INTx: a level that is masked when it fires and stays so until the user unmasks it.</summary>
internal sealed unsafe partial class VfioPciInterrupts
{
    private EventfdContext? _intx;
    private EventfdWatch? _unmask;
    private int _masked;

    /// <summary>True while the user's INTx disable bit is set.</summary>
    private bool _disabledByUser;

    /// <inheritdoc/>
    void IInterruptSink.Line(PciDevice source, bool asserted)
    {
        // The first assertion masks: whoever wins the exchange signals. No lock is taken and the device is not called back.
        if (asserted && _type == Vfio.VFIO_PCI_INTX_IRQ_INDEX && !Volatile.Read(ref _disabledByUser) && Interlocked.Exchange(ref _masked, 1) == 0)
        {
            Volatile.Read(ref _intx)?.Signal();
        }
    }

    /// <summary>The user changed the INTx disable bit of the command register.</summary>
    public void SetDisabledByUser(bool disabled)
    {
        lock (_gate)
        {
            if (disabled == _disabledByUser)
            {
                return;
            }

            Volatile.Write(ref _disabledByUser, disabled);
            if (disabled)
            {
                Mask();
            }
            else
            {
                Unmask();
            }
        }
    }

    private int TriggerIntx(in vfio_irq_set head, byte* data)
    {
        uint kind = head.flags & Vfio.VFIO_IRQ_SET_DATA_TYPE_MASK;
        bool isIntx = _type == Vfio.VFIO_PCI_INTX_IRQ_INDEX;
        if (isIntx && head.count == 0 && kind == Vfio.VFIO_IRQ_SET_DATA_NONE)
        {
            DisableIntx();
            return 0;
        }

        if ((!isIntx && _type != None) || head.start != 0 || head.count != 1)
        {
            return -Errno.EINVAL;
        }

        if (kind == Vfio.VFIO_IRQ_SET_DATA_EVENTFD)
        {
            EventfdContext? made = null;
            int descriptor = *(int*)data;
            int error = descriptor < 0 ? 0 : device.Core.EventfdFrom(descriptor, out made);
            if (error < 0)
            {
                return error;
            }

            if (isIntx)
            {
                Replace(ref _intx, made);
                return 0;
            }

            error = EnableIntx(made);
            if (error < 0)
            {
                made?.Dispose();
            }

            return error;
        }

        if (!isIntx)
        {
            return -Errno.EINVAL;
        }

        if (kind == Vfio.VFIO_IRQ_SET_DATA_NONE || *data != 0)
        {
            SignalIntx();
        }

        return 0;
    }

    private int EnableIntx(EventfdContext? trigger)
    {
        if (device.Function.Irq == 0)
        {
            return -Errno.ENODEV;
        }

        Volatile.Write(ref _intx, trigger);
        Volatile.Write(ref _masked, _disabledByUser ? 1 : 0);
        if (device.HasIntxMask)
        {
            device.Function.SetIntx(!_disabledByUser);
        }

        _type = Vfio.VFIO_PCI_INTX_IRQ_INDEX;

        // A line that is up already fires at once.
        if (IsPending && Interlocked.CompareExchange(ref _masked, 1, 0) == 0)
        {
            SignalIntx();
        }

        return 0;
    }

    private void DisableIntx()
    {
        _unmask?.Dispose();
        _unmask = null;
        _type = None;
        Replace(ref _intx, null);
    }

    private int MaskIntx(in vfio_irq_set head, byte* data)
    {
        if (_type != Vfio.VFIO_PCI_INTX_IRQ_INDEX || head.start != 0 || head.count != 1)
        {
            return -Errno.EINVAL;
        }

        switch (head.flags & Vfio.VFIO_IRQ_SET_DATA_TYPE_MASK)
        {
            case Vfio.VFIO_IRQ_SET_DATA_EVENTFD:
                return -Errno.ENOTTY;
            case Vfio.VFIO_IRQ_SET_DATA_BOOL when *data == 0:
                return 0;
            default:
                Mask();
                return 0;
        }
    }

    private int UnmaskIntx(in vfio_irq_set head, byte* data)
    {
        if (_type != Vfio.VFIO_PCI_INTX_IRQ_INDEX || head.start != 0 || head.count != 1)
        {
            return -Errno.EINVAL;
        }

        switch (head.flags & Vfio.VFIO_IRQ_SET_DATA_TYPE_MASK)
        {
            case Vfio.VFIO_IRQ_SET_DATA_EVENTFD:
                int descriptor = *(int*)data;
                if (descriptor < 0)
                {
                    _unmask?.Dispose();
                    _unmask = null;
                    return 0;
                }

                return EnableUnmask(descriptor);
            case Vfio.VFIO_IRQ_SET_DATA_BOOL when *data == 0:
                return 0;
            default:
                Unmask();
                return 0;
        }
    }

    // vfio_virqfd_enable: one watch only.
    private int EnableUnmask(int descriptor)
    {
        int error = device.Core.EventfdFrom(descriptor, out EventfdContext? made);
        if (error < 0)
        {
            return error;
        }

        if (_unmask is not null)
        {
            made!.Dispose();
            return -Errno.EBUSY;
        }

        _unmask = device.Core.Watcher.Watch(made!, () =>
        {
            lock (_gate)
            {
                if (_type == Vfio.VFIO_PCI_INTX_IRQ_INDEX)
                {
                    Unmask();
                }
            }
        });
        return 0;
    }

    private void Mask()
    {
        if (_type != Vfio.VFIO_PCI_INTX_IRQ_INDEX)
        {
            if (device.HasIntxMask)
            {
                device.Function.SetIntx(false);
            }

            return;
        }

        Volatile.Write(ref _masked, 1);
    }

    private void Unmask()
    {
        if (_type != Vfio.VFIO_PCI_INTX_IRQ_INDEX)
        {
            if (device.HasIntxMask)
            {
                device.Function.SetIntx(true);
            }

            return;
        }

        if (_disabledByUser || Volatile.Read(ref _masked) == 0)
        {
            return;
        }

        Volatile.Write(ref _masked, 0);

        // Still up: the user gets it again, and it is masked again.
        if (IsPending && Interlocked.CompareExchange(ref _masked, 1, 0) == 0)
        {
            SignalIntx();
        }
    }

    private bool IsPending => (device.Function.Read(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT) != 0;

    private void SignalIntx()
    {
        if (!_disabledByUser)
        {
            _intx?.Signal();
        }
    }
}
