using System.Runtime.InteropServices;

namespace IommuFd.Native.Uapi;

/// <summary>Head of every capability in the chain behind an info struct.</summary>
/// <remarks>When the buffer is too small for the chain the call still succeeds: argsz holds the size needed and the chain's offset is 0.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct vfio_info_cap_header
{
    /// <summary>Out: capability id, unique per info request.</summary>
    public ushort id;

    /// <summary>Out: version of this capability.</summary>
    public ushort version;

    /// <summary>Out: offset in bytes from the start of the info struct to the next capability, 0 at the end.</summary>
    public uint next;
}
