using System.Runtime.InteropServices;

namespace NvmeDriver;

/// <summary>A submission queue entry (NVMe 1.4 section 4.2).</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
internal struct NvmeCommand
{
    public const byte Flush = 0, Write = 1, Read = 2;

    /// <summary>The data pointer is an SGL descriptor (CDW0.PSDT = 01b).</summary>
    public const byte UsesSgl = 0x40;

    public byte Opcode;
    public byte Flags;
    public ushort Id;
    public uint Namespace;
    public ulong Reserved;
    public ulong Metadata;
    public ulong Prp1;
    public ulong Prp2;
    public uint Dw10, Dw11, Dw12, Dw13, Dw14, Dw15;
}
