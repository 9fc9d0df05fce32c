using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

/// <summary>What the device table cache keeps of an entry, with the GCR3 lookup of a PASID; never changed after it was made.</summary>
internal sealed class AmdContext
{
    internal required ushort DeviceId { get; init; }

    internal required uint Pasid { get; init; }

    /// <summary>V is clear: everything passes.</summary>
    internal bool Passes { get; init; }

    /// <summary>TV is clear, or nothing is permitted.</summary>
    internal bool Blocks { get; init; }

    internal ushort DomainId { get; init; }

    /// <summary>Host translation (Mode not 0).</summary>
    internal bool Host { get; init; }

    internal DirectTable HostTable { get; init; }

    internal WalkAccess HostRules { get; init; }

    /// <summary>IR and IW.</summary>
    internal DmaAccess Permitted { get; init; }

    /// <summary>Guest translation for this PASID (or, with GIoV, without one).</summary>
    internal bool Guest { get; init; }

    internal DirectTable GuestTable { get; init; }

    /// <summary>I: the device may use a device TLB.</summary>
    internal bool DeviceTlb { get; init; }

    internal bool PageRequests { get; init; }

    /// <summary>SA: no I/O page fault is recorded.</summary>
    internal bool SuppressAll { get; init; }

    /// <summary>SE: one I/O page fault is recorded until the entry is invalidated.</summary>
    internal bool SuppressFurther { get; init; }

    /// <summary>The one that SE allows was recorded.</summary>
    internal bool Recorded { get; set; }

    internal ulong Space { get; init; }
}
