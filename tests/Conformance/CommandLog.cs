using System.Text;
using System.Text.RegularExpressions;
using IommuFd.Native;
using Xunit;

namespace Conformance;

/// <summary>
/// Which commands and sysfs attributes a case uses, appended to the file that CONFORMANCE_COMMANDS names: one line of case, tab, command for each.
/// scripts/vm/conformance makes docs/conformance.md of it.
/// </summary>
internal sealed partial class CommandLog : TextWriter
{
    private readonly string _file;
    private readonly string _case = TestContext.Current.Test?.TestDisplayName ?? "";
    private readonly SortedSet<string> _commands = new(StringComparer.Ordinal);

    private CommandLog(string file) => _file = file;

    public override Encoding Encoding => Encoding.UTF8;

    /// <summary>The host, and what is asked of it is written down when that is wanted.</summary>
    public static IHost Over(IHost host) =>
        Environment.GetEnvironmentVariable("CONFORMANCE_COMMANDS") is string file ? new TracingHost(host, new CommandLog(file)) : host;

    public override void WriteLine(string? value)
    {
        if (Ioctl().Match(value ?? "") is { Success: true } ioctl)
        {
            if (Named(ioctl.Groups[1].Value) is string name)
            {
                _commands.Add(name);
            }
        }
        else if (Attribute().Match(value ?? "") is { Success: true } attribute)
        {
            _commands.Add($"sysfs {attribute.Groups[1].Value}");
        }
    }

    /// <summary>The host is disposed: the case is over.</summary>
    public override void Flush()
    {
        File.AppendAllLines(_file, _commands.Select(command => $"{_case}\t{command}"));
        _commands.Clear();
    }

    // On /dev/iommu a trace takes the emulated container's requests for the same numbers of the proposal of 2021.
    private static string? Named(string request)
    {
        if (request == "0x3ba0")
        {
            return "IOMMU_TEST_CMD";
        }

        if (IoctlCommands.Vfio.Any(command => command.Name == request))
        {
            return request;
        }

        if (IoctlCommands.Rfc.FirstOrDefault(command => command.Name == request) is not { Name: not null } proposed)
        {
            return request;
        }

        return IoctlCommands.TryFind(IoctlDialect.Vfio, IoctlFile.VfioContainer, proposed.Request, out IoctlCommand container) ? container.Name
            : null;
    }

    [GeneratedRegex(@"^ioctl\([^,]*, ([A-Z][A-Z0-9_]+|0x3ba0)\b")]
    private static partial Regex Ioctl();

    [GeneratedRegex("^(?:read|write|readlink|list)\\(\"/sys/[^\"]*/([^/\"]+)\"")]
    private static partial Regex Attribute();
}
