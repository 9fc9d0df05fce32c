using System.Formats.Tar;
using System.IO.Compression;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

public sealed class CapturedHostTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("capture-").FullName;

    public CapturedHostTests()
    {
        string device = Path.Combine(_directory, "sys/devices/pci0000:00/0000:00:04.0");
        Directory.CreateDirectory(device);
        Directory.CreateDirectory(Path.Combine(_directory, "sys/bus/pci/devices"));
        Directory.CreateDirectory(Path.Combine(_directory, "sys/kernel/iommu_groups/3/devices"));
        File.WriteAllText(Path.Combine(device, "vendor"), "0x1234\n");
        File.WriteAllText(Path.Combine(device, "device"), "0x11e8\n");
        File.CreateSymbolicLink(Path.Combine(device, "iommu_group"), "../../../kernel/iommu_groups/3");
        File.CreateSymbolicLink(Path.Combine(_directory, "sys/bus/pci/devices/0000:00:04.0"), "../../../devices/pci0000:00/0000:00:04.0");
        File.CreateSymbolicLink(Path.Combine(_directory, "sys/loop"), "loop");
        File.CreateSymbolicLink(Path.Combine(_directory, "sys/out"), "../../../../../../etc/hostname");
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData("directory")]
    [InlineData("tar")]
    [InlineData("tar.gz")]
    public void A_machine_can_be_read_from_a_directory_or_an_archive(string form)
    {
        using CapturedHost host = new(Pack(form));
        Assert.Equal(HostKind.Capture, host.Kind);
        Assert.Equal(7, host.Sysfs.ReadText("/sys/bus/pci/devices/0000:00:04.0/vendor", out string vendor));
        Assert.Equal("0x1234\n", vendor);
        PciFunction? function = new PciBus(host.Sysfs).Find(PciAddress.Parse("0000:00:04.0"));
        Assert.Equal(3, function?.Group);
        Assert.Equal(1, host.Sysfs.List("/sys/bus/pci/devices", out string[] names));
        Assert.Equal(["0000:00:04.0"], names);
        Assert.Equal(0, host.Sysfs.Status("/sys/bus/pci/devices/0000:00:04.0", out PathStatus status));
        Assert.Equal(PathKind.Directory, status.Kind);
    }

    [Fact]
    public void Errors_are_those_of_a_file_system()
    {
        using CapturedHost host = new(_directory);
        Assert.Equal(-Errno.ENOENT, host.Sysfs.ReadText("/sys/nothing", out _));
        Assert.Equal(-Errno.EISDIR, host.Sysfs.ReadText("/sys", out _));
        Assert.Equal(-Errno.ELOOP, host.Sysfs.ReadText("/sys/loop", out _));
        Assert.Equal(-Errno.ENOTDIR, host.Sysfs.ReadText("/sys/bus/pci/devices/0000:00:04.0/vendor/x", out _));
        Assert.Equal(-Errno.EINVAL, host.Sysfs.ReadLink("/sys/bus", out _));
        Assert.Equal(-Errno.EROFS, host.Sysfs.WriteText("/sys/bus/pci/devices/0000:00:04.0/driver_override", "vfio-pci"));
    }

    [Fact]
    public void A_link_does_not_lead_out_of_the_capture()
    {
        using CapturedHost host = new(_directory);
        Assert.Equal(-Errno.ENOENT, host.Sysfs.ReadText("/sys/out", out _));
    }

    [Fact]
    public void Nothing_can_be_opened_and_the_error_says_so()
    {
        using IommuHost host = IommuHost.Over(new CapturedHost(_directory));
        IommuFdException refused = Assert.Throws<IommuFdException>(() => host.OpenContext());
        Assert.Equal(FailureCause.ReadOnlyHost, refused.Cause);
        Assert.Equal(Errno.EROFS, refused.Errno);
    }

    private string Pack(string form)
    {
        if (form == "directory")
        {
            return _directory;
        }

        string archive = Path.Combine(_directory, "capture." + form);
        using MemoryStream content = new();
        TarFile.CreateFromDirectory(Path.Combine(_directory, "sys"), content, includeBaseDirectory: true);
        content.Position = 0;
        using FileStream file = File.Create(archive);
        using Stream target = form == "tar" ? file : new GZipStream(file, CompressionLevel.Fastest);
        content.CopyTo(target);
        return archive;
    }
}
