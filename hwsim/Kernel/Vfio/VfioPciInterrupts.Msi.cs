using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>MSI and MSI-X: one eventfd a vector.</summary>
internal sealed unsafe partial class VfioPciInterrupts
{
    // Where a PC takes interrupt messages (Intel SDM volume 3, 11.11.1); the kernel's choice of vector is of no consequence there.
    private const uint PcAddress = 0xfee00000, PcData = 0x20;

    private ulong _messageAddress;
    private uint _messageData;

    private int TriggerMsi(in vfio_irq_set head, byte* data)
    {
        uint kind = head.flags & Vfio.VFIO_IRQ_SET_DATA_TYPE_MASK;
        if (_type == head.index && head.count == 0 && kind == Vfio.VFIO_IRQ_SET_DATA_NONE)
        {
            DisableMsi();
            return 0;
        }

        if (_type != head.index && _type != None)
        {
            return -Errno.EINVAL;
        }

        if (kind == Vfio.VFIO_IRQ_SET_DATA_EVENTFD)
        {
            if (_type == head.index)
            {
                return SetBlock(head.start, head.count, (int*)data);
            }

            // No vector at all is fewer than the one that the interrupt layer wants.
            if (head.start + head.count == 0)
            {
                return -Errno.ERANGE;
            }

            int error = EnableMsi(head.index, head.start + head.count);
            if (error < 0)
            {
                return error;
            }

            error = SetBlock(head.start, head.count, (int*)data);
            if (error < 0)
            {
                DisableMsi();
            }

            return error;
        }

        if (_type != head.index)
        {
            return -Errno.EINVAL;
        }

        for (uint i = 0; i < head.count; i++)
        {
            if (kind == Vfio.VFIO_IRQ_SET_DATA_NONE || data[i] != 0)
            {
                uint vector = head.start + i;
                if (vector < _triggers.Length)
                {
                    _triggers[vector]?.Signal();
                }
            }
        }

        return 0;
    }

    // pci_alloc_irq_vectors: whatever the interrupt domains of the platform say, a failure is -ENOSPC.
    private int EnableMsi(uint index, uint vectors)
    {
        PciFunction f = device.Function;
        (_messageAddress, _messageData) = (PcAddress, PcData);
        if (f.Hardware.Unit is { Its: { } its })
        {
            _messageAddress = GicIts.Translater;
            if (device.Iommu is { Ops: not null, Group: { } group } && group.PrepareMsi(GicIts.Translater, out _messageAddress) < 0)
            {
                return -Errno.ENOSPC;
            }

            // Later vectors of MSI-X have their event from the beginning.
            _messageData = its.Map(f.Hardware.RequesterId, index == Vfio.VFIO_PCI_MSIX_IRQ_INDEX ? Count(index) : vectors, Signal);
        }

        _type = index;
        Volatile.Write(ref _triggers, new EventfdContext?[Count(index)]);
        if (index == Vfio.VFIO_PCI_MSIX_IRQ_INDEX)
        {
            f.Write(f.Msix + PCI_MSIX_FLAGS, 2, (f.Read(f.Msix + PCI_MSIX_FLAGS, 2) & ~(uint)PCI_MSIX_FLAGS_MASKALL) | PCI_MSIX_FLAGS_ENABLE);
            return 0;
        }

        MsiMaximum = int.Log2((int)vectors) + (int.IsPow2((int)vectors) ? 0 : 1);
        uint flags = f.Read(f.Msi + PCI_MSI_FLAGS, 2);
        // Below 4 GiB on every platform.
        f.Write(f.Msi + PCI_MSI_ADDRESS_LO, 4, (uint)_messageAddress);
        f.Write(f.Msi + ((flags & PCI_MSI_FLAGS_64BIT) != 0 ? 12 : 8), 2, _messageData);
        f.Write(f.Msi + PCI_MSI_FLAGS, 2, (flags & ~(uint)PCI_MSI_FLAGS_QSIZE) | (uint)(MsiMaximum << 4) | PCI_MSI_FLAGS_ENABLE);
        return 0;
    }

    private void DisableMsi()
    {
        PciFunction f = device.Function;
        if (_type == Vfio.VFIO_PCI_MSIX_IRQ_INDEX)
        {
            f.Write(f.Msix + PCI_MSIX_FLAGS, 2, f.Read(f.Msix + PCI_MSIX_FLAGS, 2) & ~(uint)PCI_MSIX_FLAGS_ENABLE);
        }
        else
        {
            f.Write(f.Msi + PCI_MSI_FLAGS, 2, f.Read(f.Msi + PCI_MSI_FLAGS, 2) & ~(uint)PCI_MSI_FLAGS_ENABLE);
        }

        EventfdContext?[] old = _triggers;
        Volatile.Write(ref _triggers, []);
        foreach (EventfdContext? trigger in old)
        {
            trigger?.Dispose();
        }

        f.Hardware.Unit?.Its?.Unmap(f.Hardware.RequesterId, _messageData);
        _type = None;
    }

    // vfio_msi_set_block: all or none of the vectors; a failure takes what the call set away again.
    private int SetBlock(uint start, uint count, int* descriptors)
    {
        for (uint i = 0; i < count; i++)
        {
            int error = SetVector(start + i, descriptors[i]);
            if (error < 0)
            {
                for (uint j = 0; j <= i; j++)
                {
                    _ = SetVector(start + j, -1);
                }

                return error;
            }
        }

        return 0;
    }

    private int SetVector(uint vector, int descriptor)
    {
        if (_triggers[vector] is not null)
        {
            Program(vector, masked: true);
            Replace(ref _triggers[vector], null);
        }

        if (descriptor < 0)
        {
            return 0;
        }

        int error = device.Core.EventfdFrom(descriptor, out EventfdContext? made);
        if (error == 0)
        {
            Replace(ref _triggers[vector], made);
            Program(vector, masked: false);
        }

        return error;
    }

    // An entry of the MSI-X table: address, data, and the mask bit. Memory decoding is switched on for it (vfio_pci_memory_lock_and_enable).
    private void Program(uint vector, bool masked)
    {
        if (_type != Vfio.VFIO_PCI_MSIX_IRQ_INDEX)
        {
            return;
        }

        PciFunction f = device.Function;
        uint table = f.Read(f.Msix + PCI_MSIX_TABLE, 4);
        int bar = (int)(table & 7);
        ulong entry = (table & ~7u) + (16UL * vector);
        uint command = f.Read(PCI_COMMAND, 2);
        f.Write(PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY);
        f.Hardware.WriteBar(bar, entry, 4, (uint)_messageAddress);
        f.Hardware.WriteBar(bar, entry + 4, 4, 0);
        f.Hardware.WriteBar(bar, entry + 8, 4, _messageData + vector);
        f.Hardware.WriteBar(bar, entry + 12, 4, masked ? 1u : 0);
        f.Write(PCI_COMMAND, 2, command);
    }
}
