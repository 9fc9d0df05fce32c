using IommuFd.Native;
using Moq;

namespace IommuFd.Tests;

/// <summary>A few made-up sysfs files.</summary>
internal sealed class TemporarySysfs : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("sysfs-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    internal void Write(string path, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_directory + path)!);
        File.WriteAllText(_directory + path, text);
    }

    internal void Function(string address, int group, string driver, string? vfio = null, bool node = true)
    {
        string path = $"/sys/bus/pci/devices/{address}", members = $"/sys/kernel/iommu_groups/{group}/devices";
        Write(path + "/vendor", "0x1234\n");
        Write(path + "/device", "0x11e8\n");
        Write(path + "/class", "0x00ff00\n");
        Directory.CreateDirectory(_directory + members);
        Directory.CreateDirectory($"{_directory}/sys/bus/pci/drivers/{driver}");
        File.CreateSymbolicLink(_directory + path + "/iommu_group", $"../../../../kernel/iommu_groups/{group}");
        File.CreateSymbolicLink(_directory + path + "/driver", $"../../drivers/{driver}");
        File.CreateSymbolicLink($"{_directory}{members}/{address}", $"../../../../bus/pci/devices/{address}");
        if (vfio is not null)
        {
            Directory.CreateDirectory($"{_directory}{path}/vfio-dev/{vfio}");
            if (node)
            {
                Write($"{path}/vfio-dev/{vfio}/dev", "511:0\n");
            }
        }
    }

    internal IommuHost Host(FakeMachine machine)
    {
        CapturedHost files = new(_directory);
        Mock<IHost> host = new();
        host.SetupGet(h => h.Kernel).Returns(machine.Kernel.Object);
        host.SetupGet(h => h.Sysfs).Returns(files.Sysfs);
        return IommuHost.Over(host.Object);
    }
}
