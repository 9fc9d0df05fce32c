using System.Text;
using System.Text.Json;
using IommuFd.Native;
using Moq;

namespace IommuFd.Tests;

public sealed class TracingHostTests
{
    [Fact]
    public void Every_ioctl_is_one_line_with_the_fields_of_its_struct_and_what_the_kernel_changed()
    {
        (string[] lines, _) = Trace();
        Assert.Contains(lines, static line => line.StartsWith("open(\"/dev/iommu\", O_RDWR|O_CLOEXEC) = ", StringComparison.Ordinal));
        Assert.Contains(lines, static line => line.Contains("</dev/iommu>, IOMMU_IOAS_ALLOC, size=12, flags=0, out_ioas_id=0 => out_ioas_id=2) = 0",
            StringComparison.Ordinal));
        string map = Assert.Single(lines, static line => line.Contains("IOMMU_IOAS_MAP", StringComparison.Ordinal));
        Assert.Contains("flags=IOMMU_IOAS_MAP_WRITEABLE|IOMMU_IOAS_MAP_READABLE", map, StringComparison.Ordinal);
        Assert.Contains("length=0x1000", map, StringComparison.Ordinal);
        Assert.Contains("=> iova=0x10000)", map, StringComparison.Ordinal);
        Assert.Contains(
            lines, static line => line.Contains("vfio0>, VFIO_DEVICE_SET_IRQS, argsz=28, flags=VFIO_IRQ_SET_DATA_EVENTFD|VFIO_IRQ_SET_ACTION_TRIGGER",
            StringComparison.Ordinal));
    }

    [Fact]
    public void A_failed_call_shows_the_errno()
    {
        StringWriter text = new();
        using TracingHost host = new(new LinuxHost(), text);
        _ = host.Kernel.Open("/nonexistent", 0, 0);
        Assert.Equal("open(\"/nonexistent\", O_RDONLY) = -1 ENOENT (No such file or directory)\n", text.ToString());
    }

    [Fact]
    public void The_record_is_one_JSON_object_a_line_with_the_same_values()
    {
        (string[] lines, string[] records) = Trace();
        Assert.Equal(lines.Length, records.Length);
        JsonElement map = records.Select(static record => JsonDocument.Parse(record).RootElement).Single(IsMap);
        Assert.Equal("ioctl", map.GetProperty("call").GetString());
        Assert.Equal(0x1000, map.GetProperty("in").GetProperty("length").GetInt64());
        Assert.Equal(6, map.GetProperty("in").GetProperty("flags").GetInt64());
        Assert.Equal(0x10000, map.GetProperty("out").GetProperty("iova").GetInt64());
        Assert.Equal(0, map.GetProperty("result").GetInt64());
    }

    [Fact]
    public void A_wild_argument_is_traced_without_a_crash()
    {
        StringWriter text = new();
        using TracingHost host = new(new LinuxHost(), text);
        int fd = host.Kernel.EventFd(0, Libc.EFD_CLOEXEC);
        _ = host.Kernel.Ioctl(fd, Native.Uapi.Iommufd.IOMMU_IOAS_MAP, 0x1000);
        _ = host.Kernel.Close(fd);
        Assert.Contains("IOMMU_IOAS_MAP) = -1 ", text.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/dev/iommu", IoctlDialect.Iommufd, IoctlFile.Iommu)]
    [InlineData("/dev/vfio/devices/vfio0", IoctlDialect.Vfio, IoctlFile.VfioDevice)]
    [InlineData("/dev/vfio/vfio", IoctlDialect.Vfio, IoctlFile.VfioContainer)]
    public unsafe void Every_struct_of_the_catalogue_is_decoded_field_by_field(string path, IoctlDialect dialect, IoctlFile file)
    {
        Mock<IHost> inner = new();
        inner.SetupGet(h => h.Kernel).Returns(Mock.Of<IKernel>(k => k.Open(path, 2, 0) == 77));
        inner.SetupGet(h => h.Sysfs).Returns(Mock.Of<ISysfs>());
        StringWriter text = new();
        using TracingHost host = new(inner.Object, text);
        _ = host.Kernel.Open(path, 2, 0);
        byte[] argument = new byte[4096];
        fixed (byte* pointer = argument)
        {
            foreach (IoctlCommand command in IoctlCommands.Of(dialect).Where(c => c.File == file && c.Argument is { IsPrimitive: false }))
            {
                text.GetStringBuilder().Clear();
                _ = host.Kernel.Ioctl(77, command.Request, (nint)pointer);
                Assert.StartsWith($"ioctl(77<{path}>, {command.Name}, ", text.ToString(), StringComparison.Ordinal);
                foreach (string field in command.Argument!.GetFields().Where(static f => !f.IsStatic && f.Name[0] != '_' && f.Name != "pad")
                    .Select(static f => f.Name))
                {
                    Assert.Contains(field + "=", text.ToString(), StringComparison.Ordinal);
                }
            }
        }
    }

    private static bool IsMap(JsonElement record) =>
        record.GetProperty("in").TryGetProperty("request", out JsonElement request) && request.GetString() == "IOMMU_IOAS_MAP";

    private static (string[] Lines, string[] Records) Trace()
    {
        FakeMachine machine = new();
        StringWriter text = new();
        using MemoryStream record = new();
        using (TracingHost tracing = new(machine.Host.Host, text, record))
        using (IommuHost host = IommuHost.Over(tracing))
        using (IommuContext context = host.OpenContext())
        using (BoundDevice device = host.OpenDevice("/dev/vfio/devices/vfio0").Bind(context, cookie: 1))
        using (IoAddressSpace space = context.CreateAddressSpace())
        using (DmaBuffer buffer = host.AllocateBuffer(4096))
        using (space.Map(buffer, DmaAccess.ReadWrite))
        using (device.EnableInterrupts(InterruptKind.Msi, 2))
        {
        }

        return (text.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries),
            Encoding.UTF8.GetString(record.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }
}
