namespace IommuFd.HwSim.Units;

/// <summary>A device's own translation cache (ATS), as the unit reaches it. Called under the unit's lock.</summary>
public interface IDeviceTlb
{
    /// <summary>Invalidate Request: forget translations. The device has done it when this returns.</summary>
    /// <param name="pasid">Of this PASID, or <see cref="DmaRequest.NoPasid"/> for those without.</param>
    /// <param name="address">First address.</param>
    /// <param name="last">Last address.</param>
    /// <param name="global">Of all PASIDs.</param>
    void Invalidate(uint pasid, ulong address, ulong last, bool global);

    /// <summary>PRG Response: a page request group was answered.</summary>
    /// <param name="pasid">PASID of the group, or <see cref="DmaRequest.NoPasid"/>.</param>
    /// <param name="group">Page request group index.</param>
    /// <param name="code">0 success, 1 invalid request, 15 response failure.</param>
    void PageResponse(uint pasid, ushort group, byte code);
}

/// <summary>A page request of a device (PCIe PRI).</summary>
/// <param name="RequesterId">Who.</param>
/// <param name="Pasid">PASID, or <see cref="DmaRequest.NoPasid"/>.</param>
/// <param name="Address">The page.</param>
/// <param name="Access">Read, Write, Execute, Privileged.</param>
/// <param name="Group">Page request group index, 9 bits.</param>
/// <param name="Last">Last request of its group: it is answered.</param>
public readonly record struct PageRequest(ushort RequesterId, uint Pasid, ulong Address, DmaAccess Access, ushort Group, bool Last);

/// <summary>A use of a translation that the tables no longer give: software changed them and did not invalidate.</summary>
/// <param name="Request">The request.</param>
/// <param name="Cached">Where it went.</param>
/// <param name="Now">Where the tables send it; null when they refuse it.</param>
/// <param name="Missed">The invalidation that is missing, in the data book's words.</param>
public sealed record StaleUse(DmaRequest Request, ulong Cached, ulong? Now, string Missed);
