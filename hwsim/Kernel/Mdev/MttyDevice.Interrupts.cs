using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

internal sealed unsafe partial class MttyDevice
{
    private const uint None = uint.MaxValue;
    private uint _irqType = None;
    private EventfdContext? _trigger;
    private bool _isMasked;
    private bool _isInfoKnown;

    private int GetInfo(ulong argument, IUserMemory user)
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

        // The driver counts its interrupts only once they were asked for.
        _isInfoKnown = true;
        info.flags = Vfio.VFIO_DEVICE_FLAGS_PCI;
        info.num_regions = Vfio.VFIO_PCI_NUM_REGIONS;
        info.num_irqs = Vfio.VFIO_PCI_NUM_IRQS;
        return user.CopyTo(argument, &info, minimum) < 0 ? -Errno.EFAULT : 0;
    }

    private int GetIrqInfo(ulong argument, IUserMemory user)
    {
        vfio_irq_info info;
        if (user.CopyFrom(argument, &info, (nuint)sizeof(vfio_irq_info)) < 0)
        {
            return -Errno.EFAULT;
        }

        if (info.argsz < sizeof(vfio_irq_info) || !_isInfoKnown || info.index > Vfio.VFIO_PCI_MSI_IRQ_INDEX)
        {
            return -Errno.EINVAL;
        }

        info.count = 1;
        info.flags = Vfio.VFIO_IRQ_INFO_EVENTFD | (info.index == Vfio.VFIO_PCI_INTX_IRQ_INDEX
            ? Vfio.VFIO_IRQ_INFO_MASKABLE | Vfio.VFIO_IRQ_INFO_AUTOMASKED
            : Vfio.VFIO_IRQ_INFO_NORESIZE);
        return user.CopyTo(argument, &info, (nuint)sizeof(vfio_irq_info)) < 0 ? -Errno.EFAULT : 0;
    }

    private int SetIrqs(ulong argument, IUserMemory user)
    {
        vfio_irq_set head;
        uint size = vfio_irq_set.data_offset;
        if (user.CopyFrom(argument, &head, size) < 0)
        {
            return -Errno.EFAULT;
        }

        int error = VfioPciInterrupts.Validate(head, _isInfoKnown ? (uint)Vfio.VFIO_PCI_NUM_IRQS : 0, out uint dataSize);
        if (error < 0)
        {
            return error;
        }

        // At most five interrupts, so at most five descriptors.
        byte* data = stackalloc byte[32];
        if (dataSize != 0 && user.CopyFrom(argument + size, data, dataSize) < 0)
        {
            return -Errno.EFAULT;
        }

        lock (_lock)
        {
            if (head.index > Vfio.VFIO_PCI_MSI_IRQ_INDEX)
            {
                return -Errno.ENOTTY;
            }

            return (head.flags & Vfio.VFIO_IRQ_SET_ACTION_TYPE_MASK) switch
            {
                Vfio.VFIO_IRQ_SET_ACTION_TRIGGER => Trigger(head, data),
                Vfio.VFIO_IRQ_SET_ACTION_MASK => SetMask(head, data, masked: true),
                Vfio.VFIO_IRQ_SET_ACTION_UNMASK => SetMask(head, data, masked: false),
                _ => 0,
            };
        }
    }

    private int SetMask(in vfio_irq_set head, byte* data, bool masked)
    {
        if (head.index == Vfio.VFIO_PCI_MSI_IRQ_INDEX || (head.flags & Vfio.VFIO_IRQ_SET_DATA_EVENTFD) != 0)
        {
            return head.index != Vfio.VFIO_PCI_MSI_IRQ_INDEX && (_irqType != head.index || head.start != 0 || head.count != 1)
                ? -Errno.EINVAL
                : -Errno.ENOTTY;
        }

        if (_irqType != head.index || head.start != 0 || head.count != 1)
        {
            return -Errno.EINVAL;
        }

        if ((head.flags & Vfio.VFIO_IRQ_SET_DATA_NONE) != 0 || *data != 0)
        {
            _isMasked = masked;
        }

        return 0;
    }

    private int Trigger(in vfio_irq_set head, byte* data)
    {
        bool none = (head.flags & Vfio.VFIO_IRQ_SET_DATA_NONE) != 0, isOurs = _irqType == head.index;
        if (isOurs && head.count == 0 && none)
        {
            DisableInterrupts();
            return 0;
        }

        if ((!isOurs && _irqType != None) || head.start != 0 || head.count != 1)
        {
            return -Errno.EINVAL;
        }

        if ((head.flags & Vfio.VFIO_IRQ_SET_DATA_EVENTFD) != 0)
        {
            int descriptor = *(int*)data;
            DisableInterrupts();
            if (descriptor < 0)
            {
                return 0;
            }

            int error = Core.EventfdFrom(descriptor, out _trigger);
            _irqType = error == 0 ? head.index : None;
            return error;
        }

        if (!isOurs)
        {
            return -Errno.EINVAL;
        }

        if (none || *data != 0)
        {
            RaiseInterrupt();
        }

        return 0;
    }

    private void RaiseInterrupt()
    {
        if (_irqType == Vfio.VFIO_PCI_MSI_IRQ_INDEX)
        {
            _trigger?.Signal();
        }
        else if (_irqType == Vfio.VFIO_PCI_INTX_IRQ_INDEX && !_isMasked)
        {
            _trigger?.Signal();
            _isMasked = true;
        }
    }

    private void DisableInterrupts()
    {
        _trigger?.Dispose();
        _trigger = null;
        _isMasked = false;
        _irqType = None;
    }
}
