using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>Memory that nobody vouches for.</summary>
public sealed partial class InProcessUserMemory
{
    /// <summary>Pages that are reached by copies, which fail where a pointer would end the process.</summary>
    private sealed class GuardedPages(InProcessUserMemory memory, bool withDevices) : IPageSource
    {
        public SimulatedProcess Process => memory.Process;

        public int Pin(ulong address, ulong length, bool writable) => memory.Pin(address, length, writable, withDevices);

        public void Unpin(ulong address, ulong length) => memory.Unpin(address, length);

        public nint HostAddress(ulong address, ref ulong length) => OwnMemory.Token(address);
    }
}

/// <summary>Memory of this process behind tokens: copied by the host's kernel, which answers EFAULT for what is not there.</summary>
internal sealed unsafe class OwnMemory : IRemoteMemory
{
    /// <summary>The token of an address.</summary>
    public static nint Token(ulong address) => (nint)(address | (1UL << 63));

    /// <inheritdoc/>
    public bool Read(nint token, void* destination, ulong length) => Transfer(Libc.SYS_process_vm_readv, token, destination, length);

    /// <inheritdoc/>
    public bool Write(nint token, void* source, ulong length) => Transfer(Libc.SYS_process_vm_writev, token, source, length);

    // SAFETY: one side is the caller's, the other is only named.
    private static bool Transfer(nint call, nint token, void* local, ulong length)
    {
        for (ulong done = 0; done < length;)
        {
            var here = new Libc.IoVector { Base = (byte*)local + done, Length = (nuint)(length - done) };
            var there = new Libc.IoVector { Base = (void*)(((ulong)token & ~(1UL << 63)) + done), Length = (nuint)(length - done) };
            var moved = Libc.Syscall(call, Environment.ProcessId, (nint)(&here), 1, (nint)(&there), 1, 0);
            if (moved <= 0)
            {
                return false;
            }

            done += (ulong)moved;
        }

        return true;
    }
}
