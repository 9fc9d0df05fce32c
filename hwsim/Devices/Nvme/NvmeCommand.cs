using System.Runtime.InteropServices;

namespace IommuFd.HwSim.Devices.Nvme;

/// <summary>A submission queue entry (NVMe 1.4 section 4.2).</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
internal struct NvmeCommand
{
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

/// <summary>Statuses (NVMe 1.4 section 4.6.1): type &lt;&lt; 8 | code.</summary>
internal static class NvmeStatus
{
    public const int Success = 0, InvalidOpcode = 1, InvalidField = 2, DataTransferError = 4, InternalError = 6, InvalidNamespace = 0x0b,
        SglDescriptorType = 0x11, SglSegment = 0x0d;
    public const int SglLength = 0x0f, InvalidPrpOffset = 0x13, LbaOutOfRange = 0x80;
    public const int CompletionQueueInvalid = 0x100, InvalidQueueId = 0x101, InvalidQueueSize = 0x102,
        TooManyAsyncEvents = 0x105, InvalidVector = 0x108;
    public const int InvalidLogPage = 0x109, InvalidQueueDeletion = 0x10c, FeatureNotSaveable = 0x10d;
}
