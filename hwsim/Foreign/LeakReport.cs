using IommuFd.HwSim.Kernel;

namespace IommuFd.HwSim.Foreign;

/// <summary>What a program left behind, in words.</summary>
internal static class LeakReport
{
    /// <summary>A file that was still open when its program ended; null when that is of no interest.</summary>
    public static string? Describe(SimulatedFile file) => file switch
    {
        IommufdContext => "/dev/iommu still open",
        _ => null,
    };
}
