using System.Numerics;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>Eventfds that write a value to a BAR when they are signalled.</summary>
internal sealed unsafe partial class VfioPciDevice
{
    private const int IoEventfdMaximum = 1000;
    private readonly Lock _ioEventfdGate = new();
    private readonly List<(int Bar, ulong Position, ulong Data, int Bytes, EventfdWatch Watch)> _ioEventfds = [];

    private int IoEventfd(ulong argument, IUserMemory user)
    {
        vfio_device_ioeventfd request;
        uint minimum = 28; // through fd
        if (user.CopyFrom(argument, &request, minimum) < 0)
        {
            return -Errno.EFAULT;
        }

        uint bytes = request.flags & Vfio.VFIO_DEVICE_IOEVENTFD_SIZE_MASK;
        if (request.argsz < minimum || request.flags != bytes || BitOperations.PopCount(bytes) != 1 || request.fd < -1)
        {
            return -Errno.EINVAL;
        }

        int bar = (int)Math.Min(request.offset >> OffsetShift, int.MaxValue);
        ulong position = request.offset & (ulong)OffsetMask;
        if (bar > Vfio.VFIO_PCI_BAR5_REGION_INDEX || position + bytes > Function.Resources[bar].Length || TouchesMsix(bar, position, bytes))
        {
            return -Errno.EINVAL;
        }

        lock (_ioEventfdGate)
        {
            ulong data = request.data;
            int known = _ioEventfds.FindIndex(e => e.Bar == bar && e.Position == position && e.Data == data && e.Bytes == (int)bytes);
            if (known >= 0)
            {
                if (request.fd != -1)
                {
                    return -Errno.EEXIST;
                }

                _ioEventfds[known].Watch.Dispose();
                _ioEventfds.RemoveAt(known);
                return 0;
            }

            if (request.fd < 0)
            {
                return -Errno.ENODEV;
            }

            if (_ioEventfds.Count >= IoEventfdMaximum)
            {
                return -Errno.ENOSPC;
            }

            int error = Core.EventfdFrom(request.fd, out EventfdContext? eventfd);
            if (error < 0)
            {
                return error;
            }

            EventfdWatch watch = Core.Watcher.Watch(eventfd!, WriteOf(bar, position, request.data, (int)bytes));
            _ioEventfds.Add((bar, position, request.data, (int)bytes, watch));
            return 0;
        }
    }

    private Action WriteOf(int bar, ulong position, ulong data, int bytes) => () =>
    {
        int reading = _memoryLock.EnterRead();
        try
        {
            if (!Function.Resources[bar].IsMemory || MemoryEnabled)
            {
                Function.Hardware.WriteBar(bar, position, bytes, data);
            }
        }
        finally
        {
            _memoryLock.ExitRead(reading);
        }
    };

    private bool TouchesMsix(int bar, ulong position, uint bytes) => bar == _msixBar && position + bytes > _msixStart && position < _msixEnd;

    private void CloseIoEventfds()
    {
        lock (_ioEventfdGate)
        {
            _ioEventfds.ForEach(static e => e.Watch.Dispose());
            _ioEventfds.Clear();
        }
    }
}
