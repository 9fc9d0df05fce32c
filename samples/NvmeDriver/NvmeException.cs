namespace NvmeDriver;

/// <summary>A command ended with an error.</summary>
/// <param name="opcode">The command.</param>
/// <param name="status">Status code type &lt;&lt; 8 | status code (NVMe 1.4 section 4.6.1).</param>
public sealed class NvmeException(byte opcode, int status)
    : IOException($"NVMe command 0x{opcode:x2} ended with status 0x{status:x3} (type {status >> 8}, code 0x{status & 0xff:x2}).")
{
    /// <summary>Status code type &lt;&lt; 8 | status code.</summary>
    public int Status { get; } = status;
}
