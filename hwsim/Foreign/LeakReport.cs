using IommuFd.HwSim.Kernel;

namespace IommuFd.HwSim.Foreign;

/// <summary>What a program left behind, in words.</summary>
internal static class LeakReport
{
    /// <summary>A file that was still open when its program ended; null when that is of no interest.</summary>
    public static string? Describe(SimulatedFile file) => file switch
    {
        IommufdContext context => context.Describe() is { Length: > 0 } held ? $"/dev/iommu with {held}" : null,
        VfioDeviceFile device => device.Iommufd is null ? null : $"{device.Device.Name} bound, as device {device.DeviceId} of its iommufd",
        VfioContainer => "/dev/vfio/vfio, a container",
        _ => null,
    };
}
