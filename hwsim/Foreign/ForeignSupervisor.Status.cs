using System.Runtime.InteropServices;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// fstat(2) and its kin on a file of the machine: a device node is a character device with its number, an attribute a regular file.
/// </summary>
internal sealed unsafe partial class ForeignSupervisor
{
    private const uint S_IFREG = 0x8000, S_IFCHR = 0x2000;
    private const int StatSize = 144, StatxSize = 256, BlockSize = 4096;

    private void Status(in SeccompCall call, ForeignProcess process, SimulatedFile file)
    {
        var isFstat = call.Number == _calls.fstat;
        byte first = 1;
        var named = !isFstat && call.Arguments[1] != 0 && (process.Memory.CopyFrom(call.Arguments[1], &first, 1) < 0 || first != 0);
        if (named || _descriptors.StatusOf(file) is not { } status)
        {
            // A name below a descriptor, or an anonymous file: the host's answer for the socket will do.
            file.Put();
            _listener.Continue(call.Id);
            return;
        }

        var mode = status.Mode | (status.Kind == PathKind.CharacterDevice ? S_IFCHR : S_IFREG);
        var buffer = stackalloc byte[StatxSize];
        new Span<byte>(buffer, StatxSize).Clear();
        ulong target;
        nuint size;
        if (call.Number == _calls.statx)
        {
            (target, size) = (call.Arguments[4], StatxSize);
            *(uint*)buffer = 0x7ff; // STATX_BASIC_STATS
            *(uint*)(buffer + 4) = BlockSize;
            *(uint*)(buffer + 16) = 1;
            *(uint*)(buffer + 20) = status.UserId;
            *(uint*)(buffer + 24) = status.GroupId;
            *(ushort*)(buffer + 28) = (ushort)mode;
            *(uint*)(buffer + 128) = (uint)(status.Device >> 8) & 0xfff;
            *(uint*)(buffer + 132) = (uint)((status.Device & 0xff) | (status.Device >> 12 & 0xfff00));
        }
        else
        {
            (target, size) = (call.Arguments[isFstat ? 1 : 2],
                StatSize - (nuint)(RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 0 : 16));
            *(ulong*)buffer = 5;
            if (RuntimeInformation.ProcessArchitecture == Architecture.X64)
            {
                *(ulong*)(buffer + 16) = 1;
                *(uint*)(buffer + 24) = mode;
                *(uint*)(buffer + 28) = status.UserId;
                *(uint*)(buffer + 32) = status.GroupId;
                *(ulong*)(buffer + 40) = status.Device;
            }
            else
            {
                *(uint*)(buffer + 16) = mode;
                *(uint*)(buffer + 20) = 1;
                *(uint*)(buffer + 24) = status.UserId;
                *(uint*)(buffer + 28) = status.GroupId;
                *(ulong*)(buffer + 32) = status.Device;
            }

            *(ulong*)(buffer + 56) = BlockSize;
        }

        Finish(in call, process, file, process.Memory.CopyTo(target, buffer, size));
    }
}
