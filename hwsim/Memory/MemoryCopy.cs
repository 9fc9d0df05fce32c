using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;

namespace IommuFd.HwSim;

/// <summary>Copies of DMA size at memcpy's speed: the runtime's own copy is half as fast at 4 KiB.</summary>
internal static unsafe partial class MemoryCopy
{
    private const int Piece = 64 * 1024;

    // Never blocks for a length of at most 64 KiB: the caller keeps to that, so that a collection never waits for a copy.
    [LibraryImport("libc", EntryPoint = "memcpy")]
    [SuppressGCTransition]
    private static partial void* MemCpy(void* destination, void* source, nuint length);

    /// <summary>
    /// Copies words and queue entries with one access each, pages in line, other lengths by the runtime up to 1 KiB and by the C library in pieces of
    /// 64 KiB above.
    /// </summary>
    // SAFETY: the caller vouches for both ranges.
    internal static void Copy(void* destination, void* source, ulong length)
    {
        switch (length)
        {
            case 4:
                *(uint*)destination = *(uint*)source;
                return;
            case 8:
                *(ulong*)destination = *(ulong*)source;
                return;
            case 16 when AdvSimd.IsSupported:
                // Arm's vector store can be seen in halves; the valid bit of a queue entry is in the second one.
                *(ulong*)destination = *(ulong*)source;
                Volatile.Write(ref ((ulong*)destination)[1], ((ulong*)source)[1]);
                return;
            case 16:
                Vector128.Store(Vector128.Load((byte*)source), (byte*)destination);
                return;
            case 64:
                Vector512.Store(Vector512.Load((byte*)source), (byte*)destination);
                return;
            case <= 1024:
                Buffer.MemoryCopy(source, destination, length, length);
                return;
            case <= 8192 when length % 256 == 0:
                CopyLines((byte*)destination, (byte*)source, (nuint)length);
                return;
            case <= Piece:
                MemCpy(destination, source, (nuint)length);
                return;
            default:
                CopyPieces((byte*)destination, (byte*)source, length);
                return;
        }
    }

    // Pages: a call costs more than the loop.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyLines(byte* to, byte* from, nuint length)
    {
        for (nuint i = 0; i < length; i += 256)
        {
            var first = Vector512.Load(from + i);
            var second = Vector512.Load(from + i + 64);
            var third = Vector512.Load(from + i + 128);
            var fourth = Vector512.Load(from + i + 192);
            Vector512.Store(first, to + i);
            Vector512.Store(second, to + i + 64);
            Vector512.Store(third, to + i + 128);
            Vector512.Store(fourth, to + i + 192);
        }
    }

    private static void CopyPieces(byte* to, byte* from, ulong length)
    {
        while (length != 0)
        {
            var piece = (nuint)Math.Min(length, Piece);
            MemCpy(to, from, piece);
            to += piece;
            from += piece;
            length -= piece;
        }
    }
}
