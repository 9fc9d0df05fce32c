using IommuFd;

namespace RfcFlows;

/// <summary>Lets a device read memory by DMA, so that what it sees can be compared with what it should see.</summary>
public interface IDmaProbe : IDisposable
{
    /// <summary>Starts reading 8 bytes.</summary>
    /// <param name="iova">Where.</param>
    /// <param name="pasid">The PASID that the request carries, or null.</param>
    void Begin(ulong iova, uint? pasid);

    /// <summary>Waits for the end.</summary>
    /// <returns>What it read; null when the DMA was refused.</returns>
    ulong? End();
}

/// <summary>The devices whose DMA engine is known here.</summary>
public static class DmaProbe
{
    /// <summary>Their names.</summary>
    public const string Known = "QEMU's educational device 1234:11e8, the simulator's PASID test device 1234:a51d";

    /// <summary>Whether a device can be made to do DMA.</summary>
    public static bool Knows(ushort vendor, ushort device) => (vendor, device) is (0x1234, 0x11e8) or (0x1234, 0xa51d);

    /// <summary>Takes over a bound device.</summary>
    /// <param name="device">The device.</param>
    /// <param name="mailbox">8 bytes of memory that its DMA reaches at <paramref name="mailboxIova"/> wherever it is attached.</param>
    /// <param name="mailboxIova">Its IOVA.</param>
    /// <exception cref="NotSupportedException">Its DMA engine is not known.</exception>
    public static IDmaProbe Open(BoundDevice device, Memory<byte> mailbox, ulong mailboxIova)
    {
        ArgumentNullException.ThrowIfNull(device);
        using ConfigSpace config = device.OpenConfigSpace();
        (ushort vendor, ushort number) = (config.VendorId, config.DeviceId);
        config.EnableBusMaster();
        return (vendor, number) switch
        {
            (0x1234, 0x11e8) => new EduProbe(device, mailbox, mailboxIova),
            (0x1234, 0xa51d) => new PasidProbe(device),
            _ => throw new NotSupportedException($"The DMA engine of {vendor:x4}:{number:x4} is not known here; known: {Known}."),
        };
    }
}
