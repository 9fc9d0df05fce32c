using System.Buffers.Binary;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>The chain of capabilities behind an info struct (vfio_info_cap_add and vfio_info_cap_shift).</summary>
internal static unsafe class InfoCapabilities
{
    /// <summary>Appends a capability: its head and <paramref name="payload"/>, padded to 8 bytes.</summary>
    public static void Add(List<byte[]> chain, ushort id, ushort version, ReadOnlySpan<byte> payload)
    {
        byte[] bytes = new byte[(8 + payload.Length + 7) & ~7];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, id);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(2), version);
        payload.CopyTo(bytes.AsSpan(8));
        chain.Add(bytes);
    }

    /// <summary>
    /// Writes the chain behind a struct of <paramref name="size"/> bytes when the user has room for all of it; else tells the room that is needed.
    /// </summary>
    public static int CopyTo(List<byte[]> chain, ulong argument, uint size, ref uint argsz, ref uint capOffset, IUserMemory user)
    {
        if (chain.Count == 0)
        {
            return 0;
        }

        uint needed = size + (uint)chain.Sum(static c => c.Length);
        if (argsz < needed)
        {
            argsz = needed;
            capOffset = 0;
            return 0;
        }

        uint at = size;
        for (int i = 0; i < chain.Count; i++)
        {
            uint next = at + (uint)chain[i].Length;
            BinaryPrimitives.WriteUInt32LittleEndian(chain[i].AsSpan(4), i + 1 < chain.Count ? next : 0);
            fixed (byte* bytes = chain[i])
            {
                // SAFETY: the array is pinned and as long as stated.
                if (user.CopyTo(argument + at, bytes, (nuint)chain[i].Length) < 0)
                {
                    return -Errno.EFAULT;
                }
            }

            at = next;
        }

        capOffset = size;
        return 0;
    }
}
