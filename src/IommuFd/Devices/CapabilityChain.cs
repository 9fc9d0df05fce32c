using System.Runtime.InteropServices;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>
/// Walks a chain of vfio_info_cap_header. The offsets come from outside: one that does not lead forward or leads outside the answer ends the walk.
/// </summary>
internal ref struct CapabilityChain(ReadOnlySpan<byte> answer, uint first)
{
    private const int HeaderSize = 8;
    private readonly ReadOnlySpan<byte> _answer = answer;
    private uint _next = first;
    private uint _current;

    /// <summary>The capability's id.</summary>
    internal ushort Id { get; private set; }

    /// <summary>The capability's version.</summary>
    internal ushort Version { get; private set; }

    /// <summary>The capability with its header, up to the end of the answer.</summary>
    internal ReadOnlySpan<byte> Body { get; private set; }

    internal bool Next()
    {
        if (_next == 0 || _next <= _current || _next > _answer.Length - HeaderSize)
        {
            return false;
        }

        _current = _next;
        Body = _answer[(int)_current..];
        vfio_info_cap_header header = MemoryMarshal.Read<vfio_info_cap_header>(Body);
        (Id, Version, _next) = (header.id, header.version, header.next);
        return true;
    }
}
