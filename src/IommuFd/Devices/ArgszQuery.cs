using System.Runtime.CompilerServices;
using IommuFd.Native;

namespace IommuFd;

/// <summary>
/// The growth protocol of VFIO's queries: the kernel fills what fits and stores in <c>argsz</c> (the first field) how much it wanted; the caller asks
/// again with that much room.
/// </summary>
internal static unsafe class ArgszQuery
{
    private const int Rounds = 8; // the answer can grow between two calls, but not for ever
    private const uint Maximum = 1 << 20;

    /// <summary>Issues the query with growing room. Returns 0 or -errno; <paramref name="answer"/> is the whole answer.</summary>
    internal static int Run<T>(DescriptorHandle handle, uint request, in T question, out byte[] answer)
        where T : unmanaged
    {
        answer = new byte[sizeof(T)];
        for (int round = 0; ; round++)
        {
            Unsafe.WriteUnaligned(ref answer[0], question);
            Unsafe.WriteUnaligned(ref answer[0], (uint)answer.Length);
            int result;
            fixed (byte* pointer = answer)
            {
                // SAFETY: the buffer is pinned for the call and argsz is its length.
                result = handle.Ioctl(request, (nint)pointer);
            }

            uint wanted = Unsafe.ReadUnaligned<uint>(ref answer[0]);
            bool grow = wanted > (uint)answer.Length && wanted <= Maximum && (result >= 0 || result is -Errno.ENOSPC or -Errno.EMSGSIZE);
            if (!grow || round == Rounds)
            {
                return result;
            }

            answer = new byte[wanted];
        }
    }

    /// <summary>The fixed part of an answer.</summary>
    internal static T Head<T>(byte[] answer)
        where T : unmanaged => Unsafe.ReadUnaligned<T>(ref answer[0]);
}
