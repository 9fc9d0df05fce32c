using System.Globalization;

namespace IommuFd.HwSim.Kernel;

/// <summary>Requester ids as logs name them.</summary>
internal static class PciName
{
    /// <summary>bus:device.function.</summary>
    public static string Of(ushort requesterId) =>
        string.Create(CultureInfo.InvariantCulture, $"{requesterId >> 8:x2}:{requesterId >> 3 & 31:x2}.{requesterId & 7}");
}
