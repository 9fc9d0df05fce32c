using VfioCli.Verbs;

namespace VfioCli.CommandLine;

/// <summary>
/// Reads the frequent, simple command lines by hand, because the first use of CommandLineParser costs more than the whole of <c>vfio list</c>. It
/// accepts only what it understands completely; every other command line goes to <see cref="VerbParser"/>. A test holds the two to the same answer.
/// </summary>
internal static class FastPath
{
    /// <summary>The verb with its options, or null when <see cref="VerbParser"/> must decide.</summary>
    public static Verb? TryParse(string[] args)
    {
        if (args.Length == 0)
        {
            return null;
        }

        return args[0] switch
        {
            "list" => Read(args, new ListVerb(), static (verb, values) => verb.Patterns = values, needsValues: false),
            "show" => Read(args, new ShowVerb(), static (verb, values) => verb.Functions = values, needsValues: true),
            _ => null,
        };
    }

    private static T? Read<T>(string[] args, T verb, Action<T, string[]> setValues, bool needsValues)
        where T : HostVerb
    {
        List<string> values = [];
        bool host = false, topology = false;
        for (int i = 1; i < args.Length; i++)
        {
            switch (args[i])
            {
                case "--json" when !verb.Json:
                    verb.Json = true;
                    break;
                case "--host" when !host && i + 1 < args.Length && IsValue(args[i + 1]):
                    host = true;
                    verb.Host = args[++i];
                    break;
                case "--topology" when !topology && i + 1 < args.Length && IsValue(args[i + 1]):
                    topology = true;
                    verb.Topology = args[++i];
                    break;
                case string value when IsValue(value):
                    values.Add(value);
                    break;
                default:
                    return null;
            }
        }

        if (needsValues && values.Count == 0)
        {
            return null;
        }

        setValues(verb, [.. values]);
        return verb;
    }

    private static bool IsValue(string text) => text.Length > 0 && text[0] != '-' && text is not ("help" or "version");
}
