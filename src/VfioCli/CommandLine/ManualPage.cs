using System.Globalization;
using System.Text;
using CommandLine;

namespace VfioCli.CommandLine;

/// <summary>The manual page in roff (man(7)), made of the same attributes as the parser and the help.</summary>
internal static class ManualPage
{
    /// <summary>The page.</summary>
    public static string Text()
    {
        StringBuilder text = new();
        _ = text.Append(CultureInfo.InvariantCulture, $".TH VFIO 1 \"\" \"{VerbParser.Version}\" \"User Commands\"\n");
        Section("NAME", "vfio \\- see, explain, bind and attach devices for passthrough");
        Section("SYNOPSIS", ".B vfio\n.I verb\n[\n.I options\n] [\n.I arguments\n]");
        Section("DESCRIPTION",
            "Works on the real /dev/iommu and VFIO of this machine, on a simulated machine, or on a capture of another one; the same verbs,"
            + " the same errors. Addresses of PCI functions are written 0000:00:04.0 or 00:04.0."
            + " Numbers are decimal or 0x hexadecimal, with K, M, G or T for powers of 1024.");
        _ = text.Append(".SH VERBS\n");
        foreach (VerbDescription verb in VerbDescription.All)
        {
            _ = text.Append(CultureInfo.InvariantCulture,
                $".SS vfio {Escape(verb.Name)} {Escape(string.Join(' ', verb.Values.Select(Word)))}\n{Escape(verb.Help)}\n");
            foreach ((string name, string help, _) in verb.Values)
            {
                _ = text.Append(CultureInfo.InvariantCulture, $".TP\n.I {Escape(name)}\n{Escape(help)}\n");
            }

            foreach (OptionDescription option in verb.Options.Where(static option => !IsCommon(option)))
            {
                Option(option);
            }

            foreach (var example in verb.Examples)
            {
                _ = text.Append(CultureInfo.InvariantCulture,
                    $".PP\n{Escape(example.HelpText)}:\n.PP\n.RS\n.EX\nvfio"
                        + $" {Escape(Parser.Default.FormatCommandLine(example.Sample, static settings => settings.SkipDefault = true))}\n.EE\n.RE\n");
            }
        }

        _ = text.Append(".SH OPTIONS OF EVERY VERB\n");
        foreach (OptionDescription option in VerbDescription.All[0].Options.Where(IsCommon))
        {
            Option(option);
        }

        _ = text.Append(".SH EXIT STATUS\n");
        foreach ((int code, string meaning) in ExitCodes)
        {
            _ = text.Append(CultureInfo.InvariantCulture, $".TP\n.B {code}\n{Escape(meaning)}\n");
        }

        _ = text.Append(".SH ENVIRONMENT\n.TP\n.B VFIO_HOST\nauto, kernel, sim or the path of a capture, when \\-\\-host is not given.\n"
            + ".TP\n.B NO_COLOR\nNo colours when set.\n"
            + ".TP\n.B VFIO_DEBUG\nAdds the details of a fault of this program.\n"
            + ".SH FILES\n.TP\n.I /run/vfio\nThe journal of driver changes, and the drivers that functions had.\n"
            + ".TP\n.I /etc/vfio/devices.d\nWhat is bound at every boot.\n.TP\n.I /etc/vfio/mdev.d\nDefined mediated devices.\n");
        return text.ToString();

        static string Word((string Name, string Help, bool Required) value) => value.Required ? value.Name : $"[{value.Name}]";

        void Section(string name, string body) => text.Append(CultureInfo.InvariantCulture, $".SH {name}\n{body}\n");

        void Option(OptionDescription option) => text.Append(
            CultureInfo.InvariantCulture,
            $".TP\n.B \\-\\-{Escape(option.Name)}{(option.Value is null ? "" : $" \\fI{Escape(option.Value)}\\fR")}\n"
                + $"{Escape(option.Help)}{(option.Default is null ? "" : Escape($" Default: {option.Default}."))}\n");
    }

    /// <summary>What the exit codes mean.</summary>
    public static IReadOnlyList<(int Code, string Meaning)> ExitCodes { get; } =
    [
        (0, "Done."),
        (1, "The command ran and the answer is no: a check failed, a self-test failed, a drift was found."),
        (2, "The command line is wrong; nothing was touched."),
        (3, "There is no such device, group, driver or file."),
        (4, "Not permitted to this user."),
        (5, "In use by a driver, a process or the host itself; nothing was changed."),
        (6, "This host, kernel or device cannot do it."),
        (7, "The kernel refused; what had been changed was put back."),
        (8, "The kernel refused and not everything could be put back: vfio restore."),
        (70, "A fault of this program."),
    ];

    private static bool IsCommon(OptionDescription option) => option.Name is "host" or "topology" or "trace" or "json";

    private static string Escape(string text) => text.Replace("\\", "\\e", StringComparison.Ordinal).Replace("-", "\\-", StringComparison.Ordinal)
        .Replace("'", "\\(aq", StringComparison.Ordinal);
}
