using CommandLine;
using IommuFd.Native;
using IommuFd.Sysfs;

namespace VfioCli.Verbs;

/// <summary><c>vfio reset</c>.</summary>
[Verb("reset", HelpText = "Reset functions, after saying how and what else the reset hits.")]
internal sealed class ResetVerb : FunctionsVerb
{
    /// <summary>Only says.</summary>
    [Option("dry-run", HelpText = "Say how each function would be reset and what else is hit; reset nothing.")]
    public bool DryRun { get; set; }

    /// <summary>Resets what is in use.</summary>
    [Option("force", HelpText = "Also when a host driver has the function, a program has it open, or neighbours are hit that are in use.")]
    public bool Force { get; set; }

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        FunctionReport[] reports = [.. session.FunctionsAt(Functions).Select(function => FunctionReport.Read(session, function))];
        foreach (FunctionReport report in reports)
        {
            Check(session, report);
        }

        foreach (FunctionReport report in reports)
        {
            if (!DryRun)
            {
                Reset(session, report);
            }

            string hit = Hit(report) is { Count: > 0 } others ? $", also hits {string.Join(", ", others)}" : "";
            session.Terminal.Line($"{report.Function.Address}: {(DryRun ? "would be reset" : "reset")} by {Method(report)}{hit}");
        }

        if (Json)
        {
            session.WriteJson("vfio.reset/1", writer =>
            {
                writer.WriteBoolean("dryRun", DryRun);
                writer.WriteStartArray("functions");
                foreach (FunctionReport report in reports)
                {
                    writer.WriteStartObject();
                    writer.WriteString("address", report.Function.Address.ToString());
                    writer.WriteString("method", Method(report));
                    Output.JsonReport.WriteStrings(writer, "alsoHits", Hit(report).Select(static address => address.ToString()));
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
        }

        return ExitCode.Ok;
    }

    // The kernel tries the methods in this order and takes the first that the function supports: that is the first word.
    private static string Method(FunctionReport report) => report.ResetMethods?.Split(' ')[0] ?? "none";

    private static IReadOnlyList<PciAddress> Hit(FunctionReport report) => Method(report) is "bus" or "cxl_bus" ? report.AlsoReset : [];

    private void Check(Session session, FunctionReport report)
    {
        PciFunction function = report.Function;
        if (report.ResetMethods is null)
        {
            throw new CommandFailure(ExitCode.Unsupported, $"{function.Address} has no reset method.",
                "Power it off and on: `echo 1 > remove`, then a slot power cycle or a reset of the host.") { Evidence =
                    [$"{function.Path}/reset_method=absent"] };
        }

        if (Force)
        {
            return;
        }

        if (function.Driver is not null && !DriverClaim.IsVfio(function.Driver))
        {
            throw new CommandFailure(ExitCode.Busy, $"{function.Address} is in use by driver {function.Driver}.",
                $"`vfio bind {function.Address}` first, or say --force. Nothing was reset.");
        }

        foreach (PciAddress address in Hit(report))
        {
            if (session.Bus.Find(address) is { Driver: { } driver } && !DriverClaim.IsVfio(driver))
            {
                throw new CommandFailure(ExitCode.Busy, $"a bus reset of {function.Address} also hits {address}, which driver {driver} uses.",
                    "Bind that one too, or say --force. Nothing was reset.");
            }
        }

        if (function.DeviceNode is { } node && DeviceHolder.Of(session.Sysfs, [node], out _) is [var holder, ..])
        {
            throw new CommandFailure(ExitCode.Busy, $"{holder} has {function.Address} open.", "End that program, or say --force. Nothing was reset.");
        }
    }

    private static void Reset(Session session, FunctionReport report)
    {
        string path = report.Function.Path + "/reset";
        int result = session.Sysfs.WriteText(path, "1");
        if (result < 0)
        {
            throw new CommandFailure(
                result is -Errno.EACCES or -Errno.EPERM ? ExitCode.Permission : ExitCode.Refused,
                $"{report.Function.Address} cannot be reset ({Errno.Name(-result)}).",
                result is -Errno.EACCES or -Errno.EPERM
                    ? "Run the command as root."
                    : result == -Errno.ENOTTY ? "The device supports no method that the kernel knows."
                    : "`dmesg` tells why; a device that does not come back needs a reset of the host.")
            {
                Errno = -result,
                Evidence = [$"{path}={Errno.Name(-result)}"],
            };
        }

        if (PciConfigSpace.Read(session.Sysfs, report.Function.Address) is { IsAllOnes: true })
        {
            throw new CommandFailure(ExitCode.Refused,
                $"{report.Function.Address} did not come back from its reset: its configuration space reads as all ones.",
                "Only a reset of the host helps.");
        }
    }
}
