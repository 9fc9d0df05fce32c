using IommuFd.Native;

namespace IommuFd;

/// <summary>
/// A UNIX socket that carries open contexts and devices to another process (SCM_RIGHTS), for privilege separation and live update. The receiver
/// adopts the descriptors with <see cref="IommuContext.Adopt"/>, <see cref="VfioDeviceFile.Adopt"/> and <see cref="VfioDeviceFile.AdoptBound"/>.
/// </summary>
public sealed unsafe class DescriptorChannel : Resource
{
    /// <summary>Most descriptors of one message (SCM_MAX_FD).</summary>
    public const int MaximumDescriptors = 253;

    private readonly SocketHandle _socket;

    private DescriptorChannel(SocketHandle socket) => _socket = socket;

    /// <summary>Makes two connected ends (SOCK_SEQPACKET: messages keep their borders).</summary>
    /// <exception cref="IommuFdException">EMFILE no descriptors left.</exception>
    public static (DescriptorChannel First, DescriptorChannel Second) CreatePair(IommuHost host)
    {
        ArgumentNullException.ThrowIfNull(host);
        int* pair = stackalloc int[2]; // SAFETY: two ints, as socketpair stores
        _ = Failure.Check(host.Kernel.SocketPair(Libc.SOCK_SEQPACKET | Libc.SOCK_CLOEXEC, (nint)pair), "socketpair");
        return (Adopt(host, pair[0]), Adopt(host, pair[1]));
    }

    /// <summary>Takes over a connected UNIX socket; it is closed with the channel.</summary>
    public static DescriptorChannel Adopt(IommuHost host, int socket)
    {
        ArgumentNullException.ThrowIfNull(host);
        return new DescriptorChannel(new SocketHandle(host.Kernel, socket));
    }

    /// <summary>Sends a message with descriptors of contexts and devices; they stay open here.</summary>
    /// <param name="payload">At least one byte; what the receiver needs to know, such as device ids and cookies.</param>
    /// <param name="objects">Each a <see cref="IommuContext"/>, <see cref="VfioDeviceFile"/> or <see cref="BoundDevice"/>.</param>
    /// <exception cref="ArgumentException">An object has no descriptor to send, or there are too many.</exception>
    /// <exception cref="IommuFdException">EPIPE nobody is at the other end.</exception>
    public void Send(ReadOnlySpan<byte> payload, params ReadOnlySpan<Resource> objects)
    {
        ArgumentOutOfRangeException.ThrowIfZero(payload.Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(objects.Length, MaximumDescriptors);
        int* descriptors = stackalloc int[MaximumDescriptors];
        int held = 0;
        try
        {
            for (int i = 0; i < objects.Length; i++)
            {
                DescriptorHandle handle = objects[i].Descriptor
                    ?? throw new ArgumentException($"{objects[i].GetType().Name} has no descriptor to send.", nameof(objects));
                objects[i].Enter();
                held++;
                descriptors[i] = (int)handle.DangerousGetHandle();
            }

            nint result;
            fixed (byte* bytes = payload)
            {
                // SAFETY: payload and descriptors are as long as stated; the objects are held, so the numbers are valid.
                result = _socket.Send((nint)bytes, (nuint)payload.Length, (nint)descriptors, objects.Length);
            }

            if (result < 0)
            {
                throw Failure.Of("sendmsg", (int)result);
            }
        }
        finally
        {
            for (int i = 0; i < held; i++)
            {
                objects[i].Exit();
            }
        }
    }

    /// <summary>Receives a message; waits for one.</summary>
    /// <param name="payload">Filled.</param>
    /// <param name="descriptors">The descriptors that came with it, to be adopted or closed; what has no room is closed.</param>
    /// <param name="descriptorCount">How many came.</param>
    /// <returns>The bytes of the payload; 0 when the other end is closed.</returns>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public int Receive(Span<byte> payload, Span<int> descriptors, out int descriptorCount)
    {
        descriptorCount = Math.Min(descriptors.Length, MaximumDescriptors);
        nint result;
        fixed (byte* bytes = payload)
        fixed (int* room = descriptors)
        {
            // SAFETY: both are pinned for the call and as long as stated.
            result = _socket.Receive((nint)bytes, (nuint)payload.Length, (nint)room, ref descriptorCount);
        }

        return result >= 0 ? (int)result : throw Failure.Of("recvmsg", (int)result);
    }

    private protected override void Free() => _socket.Dispose();
}
