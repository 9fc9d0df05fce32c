using System.Globalization;
using System.Text.Json;
using CommandLine;
using CommandLine.Text;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Diagnosis;
using VfioCli.Faults;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio fault</c>.</summary>
[Verb("fault", HelpText = "Decode IOMMU fault lines (VT-d, AMD-Vi, SMMUv3, RISC-V) from a file, from stdin, or from the kernel's log.")]
internal sealed class FaultVerb : HostVerb
{
    /// <summary>Where the lines are.</summary>
    [Value(0, MetaName = "FILE", HelpText = "A log; - is stdin. Without it stdin is read when it is a pipe, else the kernel's log.")]
    public string? File { get; set; }

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples => [Example("A customer's log", new FaultVerb { File = "dmesg.txt" })];

    /// <inheritdoc/>
    internal override bool WantsThisMachine => true;

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        IReadOnlyList<(FaultRecord Fault, int Count)> faults = FaultLog.Parse(Lines(session));
        if (Json)
        {
            session.WriteJson("vfio.fault/1", writer =>
            {
                writer.WriteStartArray("faults");
                foreach ((FaultRecord fault, int count) in faults)
                {
                    Write(writer, fault, count);
                }

                writer.WriteEndArray();
            });
            return ExitCode.Ok;
        }

        foreach ((FaultRecord fault, int count) in faults)
        {
            string what = fault.Access is null ? "" : $" {fault.Access}", where = fault.Address is { } address ? $" of IOVA 0x{address:x}" : "";
            string pasid = fault.Pasid is { } number ? $" with PASID {number}" : "", times = count == 1 ? "" : $", {count} times";
            session.Terminal.Line(string.Create(CultureInfo.InvariantCulture,
                $"{fault.Family} {fault.Code}: {fault.Device ?? "unknown device"}{what}{where}{pasid}{times}"));
            session.Terminal.Line($"      {fault.Reason}");
            if (fault.Device is { } name && PciAddress.TryParse(name, out PciAddress device) && session.Bus.Find(device) is { } function)
            {
                session.Terminal.Line($"      {function.Vendor:x4}:{function.Device:x4} {PciClass.Name(function.Class)}, driver"
                    + $" {function.Driver ?? "none"}, group {function.Group?.ToString(CultureInfo.InvariantCulture) ?? "none"}");
            }

            session.Terminal.Line($"      -> {fault.Advice}");
        }

        if (faults.Count == 0)
        {
            session.Terminal.Line("no IOMMU faults found");
        }

        return ExitCode.Ok;
    }

    /// <summary>A fault as every document has it.</summary>
    internal static void Write(Utf8JsonWriter writer, FaultRecord fault, int count)
    {
        writer.WriteStartObject();
        writer.WriteString("family", fault.Family);
        writer.WriteString("device", fault.Device);
        writer.WriteString("access", fault.Access);
        writer.WriteString("address", fault.Address is { } address ? $"0x{address:x}" : null);
        writer.WriteNumberOrNull("pasid", fault.Pasid);
        writer.WriteString("code", fault.Code);
        writer.WriteString("class", fault.Class.ToString());
        writer.WriteString("reason", fault.Reason);
        writer.WriteString("advice", fault.Advice);
        writer.WriteNumber("count", count);
        writer.WriteEndObject();
    }

    private IEnumerable<string> Lines(Session session)
    {
        if (File is not null and not "-")
        {
            try
            {
                return System.IO.File.ReadAllLines(File);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                throw new CommandFailure(exception is UnauthorizedAccessException ? ExitCode.Permission : ExitCode.NotFound,
                    $"{File} cannot be read: {exception.Message.TrimEnd('.')}.", "Name a log, - for stdin, or nothing for the kernel's log.");
            }
        }

        // A job without a terminal has an empty stdin: that is no log.
        string piped = session.Terminal.Piped?.Invoke().ReadToEnd() ?? "";
        if (File == "-" || piped.Length > 0)
        {
            return piped.Split('\n');
        }

        int result = KernelLog.Read(session.Host.Kernel, out IReadOnlyList<string> lines);
        return result >= 0 ? lines : throw new CommandFailure(
            result is -Errno.EACCES or -Errno.EPERM ? ExitCode.Permission : ExitCode.NotFound,
            $"the kernel's log cannot be read ({Errno.Name(-result)}).",
            "Run as root, or give the log: `dmesg | vfio fault`.")
        {
            Errno = -result,
        };
    }
}
