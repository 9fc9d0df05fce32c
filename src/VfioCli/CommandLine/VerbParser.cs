using CommandLine;
using CommandLine.Text;
using VfioCli.Output;
using VfioCli.Verbs;

namespace VfioCli.CommandLine;

/// <summary>The command line by CommandLineParser: the attributes on the verbs are the single definition of verbs, options and help.</summary>
internal static class VerbParser
{
    /// <summary>Every verb, in the order in which the help lists them.</summary>
    public static IReadOnlyList<Type> Verbs { get; } =
    [
        typeof(ListVerb), typeof(ShowVerb), typeof(ExplainVerb), typeof(GroupsVerb), typeof(TopologyVerb), typeof(IommuVerb),
        typeof(DoctorVerb), typeof(FaultVerb),
        typeof(BindVerb), typeof(UnbindVerb), typeof(RestoreVerb), typeof(AttachVerb), typeof(FlowVerb), typeof(RunVerb), typeof(ResetVerb),
        typeof(VfVerb), typeof(MdevVerb),
        typeof(PersistVerb), typeof(ForgetVerb), typeof(DriftVerb), typeof(CaptureVerb), typeof(CompletionVerb), typeof(ManVerb),
        typeof(SimVerb), typeof(TraceVerb), typeof(PtVerb),
    ];

    /// <summary>Reads a command line.</summary>
    /// <param name="args">The arguments.</param>
    /// <param name="terminal">Gets help and version, or the complaint.</param>
    /// <param name="code">The exit code when no verb is returned.</param>
    /// <returns>The verb with its options, or null: help or version were asked for, or the command line is wrong.</returns>
    public static Verb? Parse(string[] args, Terminal terminal, out ExitCode code)
    {
        if (args is ["help", var topic, ..])
        {
            args = [topic, "--help"];
        }

        code = ExitCode.Usage;
        if (args.Length > 0 && VerbDescription.All.FirstOrDefault(verb => verb.Name == args[0]) is { } known && Slip(known, args[1..]) is { } slip)
        {
            terminal.Remark(slip);
            return null;
        }

        using Parser parser = new(static settings =>
        {
            settings.CaseSensitive = true;
            settings.HelpWriter = null;
            settings.EnableDashDash = true;
            settings.AutoVersion = true;
        });
        ParserResult<object> result = parser.ParseArguments(args, [.. Verbs]);
        code = ExitCode.Ok;
        if (result is Parsed<object> parsed)
        {
            return (Verb)parsed.Value;
        }

        NotParsed<object> failed = (NotParsed<object>)result;
        if (failed.Errors.IsVersion())
        {
            terminal.Out.WriteLine(Version);
            return null;
        }

        if (failed.Errors.IsHelp() || args.Length == 0)
        {
            // `vfio help` and `vfio --help` are answers, a bare `vfio` is a mistake with the same answer.
            (args.Length == 0 ? terminal.Error : terminal.Out).WriteLine(Help(result));
            code = args.Length == 0 ? ExitCode.Usage : ExitCode.Ok;
            return null;
        }

        code = ExitCode.Usage;
        terminal.Remark(Complaint(failed.Errors.First(), args));
        return null;
    }

    /// <summary><c>vfio 0.1.0</c>.</summary>
    public static string Version => "vfio " + (typeof(VerbParser).Assembly.GetName().Version?.ToString(3) ?? "0");

    private static HelpText Help(ParserResult<object> result)
    {
        HelpText help = HelpText.AutoBuild(
            result,
            text =>
            {
                text.AdditionalNewLineAfterOption = false;
                text.Heading = Version + ": see, explain, bind and attach devices for passthrough";
                text.Copyright = "";
                text.AutoVersion = false;
                text.MaximumDisplayWidth = 110;
                return text;
            },
            static example => example,
            verbsIndex: result.TypeInfo.Current == typeof(NullInstance));
        return help.AddPostOptionsLines(
        [
            "Exit status: 0 done, 1 the answer is no, 2 wrong command line, 3 not found, 4 not permitted, 5 in use,",
            "6 not possible here, 7 refused by the kernel and put back, 8 refused and not put back (vfio restore).",
        ]);
    }

    private static string Complaint(Error error, string[] args) => error switch
    {
        BadVerbSelectedError bad => $"'{bad.Token}' is not a verb. {Nearest(bad.Token)}",
        NoVerbSelectedError => "no verb given. `vfio help` lists them.",
        UnknownOptionError unknown =>
            $"{args[0]} has no option '{(unknown.Token.Length == 1 ? "-" : "--")}{unknown.Token}'. `vfio {args[0]} --help` lists its options.",
        MissingRequiredOptionError missing
            when missing.NameInfo.NameText.Length == 0 => MissingValue(VerbDescription.All.First(verb => verb.Name == args[0])),
        MissingRequiredOptionError missing => $"{args[0]} needs --{missing.NameInfo.LongName}. `vfio {args[0]} --help` shows the usage.",
        MissingValueOptionError missing => $"--{missing.NameInfo.LongName} needs a value. `vfio {args[0]} --help` shows which.",
        BadFormatConversionError bad =>
            $"the value of {(bad.NameInfo.LongName.Length == 0 ? "an argument" : "--" + bad.NameInfo.LongName)} cannot be read. `vfio {args[0]}"
                + " --help` shows what it takes.",
        RepeatedOptionError repeated => $"--{repeated.NameInfo.LongName} is given twice. Give it once.",
        _ => $"the command line cannot be read ({error.Tag}). `vfio {args[0]} --help` shows the usage.",
    };

    private static string MissingValue(VerbDescription verb) => verb.Values[0].Name.StartsWith("BDF", StringComparison.Ordinal)
        ? $"{verb.Name} needs a PCI function such as 0000:00:04.0. `vfio list` shows them, `vfio {verb.Name} --help` the usage."
        : $"{verb.Name} needs {verb.Values[0].Name}. `vfio {verb.Name} --help` shows the usage.";

    // What CommandLineParser lets pass: an option whose value is missing or empty gets its default, and arguments that no verb takes are dropped.
    private static string? Slip(VerbDescription verb, string[] args)
    {
        int values = 0;
        for (int i = 0; i < args.Length && args[i] != "--"; i++)
        {
            if (!args[i].StartsWith("--", StringComparison.Ordinal))
            {
                values++;
                if (values > verb.MostValues)
                {
                    return $"{verb.Name} takes no argument '{args[i]}'. `vfio {verb.Name} --help` shows the usage.";
                }

                continue;
            }

            string[] parts = args[i][2..].Split('=', 2);
            if (verb.Options.FirstOrDefault(option => option.Name == parts[0]) is not { Value: not null } option)
            {
                continue;
            }

            string? value = parts.Length == 2 ? parts[1] : i + 1 < args.Length
                && !args[i + 1].StartsWith("--", StringComparison.Ordinal) ? args[++i] : null;
            if (value is null or "")
            {
                return $"--{option.Name} needs a value: --{option.Name} {option.Value}. `vfio {verb.Name} --help` tells more.";
            }
        }

        return null;
    }

    // A slip of one letter is worth a hint.
    private static string Nearest(string word)
    {
        foreach (Type type in Verbs)
        {
            string name = ((VerbAttribute)Attribute.GetCustomAttribute(type, typeof(VerbAttribute))!).Name;
            if (name.StartsWith(word, StringComparison.OrdinalIgnoreCase) || Distance(word, name) == 1)
            {
                return $"Did you mean `vfio {name}`?";
            }
        }

        return "`vfio help` lists them.";
    }

    private static int Distance(string left, string right)
    {
        if (Math.Abs(left.Length - right.Length) > 1)
        {
            return 2;
        }

        int i = 0, j = 0;
        while (i < left.Length && i < right.Length && left[i] == right[i])
        {
            i++;
        }

        while (j < left.Length - i && j < right.Length - i && left[^(j + 1)] == right[^(j + 1)])
        {
            j++;
        }

        return Math.Max(left.Length, right.Length) - i - j;
    }
}
