using System.Runtime.InteropServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using IommuFd.Sysfs;
using static IommuFd.Native.Uapi.Vfio;

namespace IommuFd;

/// <content>Resets that hit more than the device.</content>
public sealed unsafe partial class VfioDeviceCalls
{
    /// <summary>VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: whom a reset of the device's bus or slot would hit.</summary>
    /// <exception cref="IommuFdException">ENODEV the slot or bus cannot be reset.</exception>
    public HotResetInfo GetHotResetInfo()
    {
        byte[] answer = new byte[vfio_pci_hot_reset_info.devices_offset];
        vfio_pci_hot_reset_info info;
        int result;
        for (int round = 0; ; round++)
        {
            MemoryMarshal.Write(answer, new vfio_pci_hot_reset_info { argsz = (uint)answer.Length });
            fixed (byte* pointer = answer)
            {
                // SAFETY: the buffer is pinned for the call and argsz is its length.
                result = _handle.Ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, (nint)pointer);
            }

            info = MemoryMarshal.Read<vfio_pci_hot_reset_info>(answer);
            if (result != -Errno.ENOSPC || round == 8 || info.count > 4096)
            {
                break; // this command tells the number it needs in count, not in argsz
            }

            answer = new byte[vfio_pci_hot_reset_info.devices_offset + ((int)info.count * sizeof(vfio_pci_dependent_device))];
        }

        _ = Failure.Check(result, nameof(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO));
        bool byId = (info.flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID) != 0;
        ReadOnlySpan<vfio_pci_dependent_device> wire =
            MemoryMarshal.Cast<byte, vfio_pci_dependent_device>(answer.AsSpan(vfio_pci_hot_reset_info.devices_offset));
        DependentDevice[] devices = new DependentDevice[Math.Min(info.count, (uint)wire.Length)];
        for (int i = 0; i < devices.Length; i++)
        {
            PciAddress address = new(wire[i].segment, wire[i].bus, (byte)(wire[i].devfn >> 3), (byte)(wire[i].devfn & 7));
            bool bound = byId && wire[i].devid is not (VFIO_PCI_DEVID_OWNED or VFIO_PCI_DEVID_NOT_OWNED);
            devices[i] = new DependentDevice(
                address, bound ? wire[i].devid : null, byId ? null : wire[i].group_id, byId && wire[i].devid != VFIO_PCI_DEVID_NOT_OWNED);
        }

        return new HotResetInfo(devices, byId && (info.flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED) != 0);
    }

    /// <summary>VFIO_DEVICE_PCI_HOT_RESET: resets the device's slot or bus with everything on it (<see cref="GetHotResetInfo"/>).</summary>
    /// <param name="groups">For devices got from groups: the groups of everything that is hit. Empty for character devices: the context proves
    /// ownership.</param>
    /// <exception cref="IommuFdException">EINVAL not everything that is hit is owned, ENODEV the slot or bus cannot be reset.</exception>
    public void HotReset(params ReadOnlySpan<VfioGroup> groups)
    {
        byte[] argument = new byte[vfio_pci_hot_reset.group_fds_offset + (groups.Length * sizeof(int))];
        MemoryMarshal.Write(argument, new vfio_pci_hot_reset { argsz = (uint)argument.Length, count = (uint)groups.Length });
        Span<int> descriptors = MemoryMarshal.Cast<byte, int>(argument.AsSpan(vfio_pci_hot_reset.group_fds_offset));
        int held = 0;
        try
        {
            foreach (VfioGroup group in groups)
            {
                group.Enter();
                descriptors[held++] = (int)group.Descriptor.DangerousGetHandle();
            }

            fixed (byte* pointer = argument)
            {
                // SAFETY: the buffer is pinned for the call and argsz is its length.
                _ = Failure.Check(_handle.Ioctl(VFIO_DEVICE_PCI_HOT_RESET, (nint)pointer), nameof(VFIO_DEVICE_PCI_HOT_RESET));
            }
        }
        finally
        {
            for (int i = 0; i < held; i++)
            {
                groups[i].Exit();
            }
        }
    }
}
