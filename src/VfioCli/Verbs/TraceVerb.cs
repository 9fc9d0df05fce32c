using System.Globalization;
using System.Text.Json;
using CommandLine;
using CommandLine.Text;
using IommuFd.HwSim;
using IommuFd.HwSim.Foreign;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio trace</c>: recorded calls shown, compared, and made once more on a simulated machine.</summary>
[Verb("trace", HelpText = "Recorded calls: trace show FILE, trace diff FILE FILE, trace replay FILE on a simulated machine.")]
internal sealed class TraceVerb : StandaloneVerb
{
    private const int MostDifferences = 50;

    // Numbers that differ between two runs that are the same.
    private static readonly HashSet<string> s_incidental = new(StringComparer.Ordinal) { "fd", "iommufd", "user_va", "vaddr", "address", "argument",
        "data_uptr", "allowed_iovas" };

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
    [
        Example("Does the simulated machine do what a recorded one did?", new TraceVerb { Words = ["replay", "run.jsonl"] }),
        Example("What is different between two runs?", new TraceVerb { Words = ["diff", "yesterday.jsonl", "today.jsonl"] }),
    ];

    /// <summary>What to do, and with which files.</summary>
    [Value(0, MetaName = "show|diff|replay FILE", Required = true, HelpText = "Files of JSON lines, as --trace FILE.jsonl writes them.")]
    public IEnumerable<string> Words { get; set; } = [];

    /// <summary>The machine of a replay.</summary>
    [Option("topology", MetaValue = "FILE|NAME", HelpText = "The simulated machine of a replay.")]
    public string? Topology { get; set; }

    /// <inheritdoc/>
    public override ExitCode Run(Terminal terminal)
    {
        string[] words = [.. Words];
        switch (words)
        {
            case ["show", var file]:
                Read(file).ForEach(call => terminal.Line(Line(call)));
                return ExitCode.Ok;
            case ["diff", var one, var other]:
                return Compare(terminal, Read(one), Read(other), [one, other]);
            case ["replay", var file]:
                return Replay(terminal, file);
            default:
                throw new CommandFailure(ExitCode.Usage, $"`vfio trace {string.Join(' ', words)}` is not complete or not known.",
                    "It is trace show FILE, trace diff FILE FILE, or trace replay FILE.");
        }
    }

    private ExitCode Replay(Terminal terminal, string file)
    {
        List<JsonElement> recorded = Read(file);
        Topology topology;
        try
        {
            topology = IommuFd.HwSim.Topology.Load(Topology ?? IommuFd.HwSim.Topology.Names[0]);
        }
        catch (TopologyException exception)
        {
            throw new CommandFailure(ExitCode.NotFound, exception.Message + ".");
        }

        using MemoryStream record = new();
        List<JsonElement> repeated = [];
        using (TraceReplay replay = new(new SimulatedHost(topology), record))
        {
            repeated.AddRange(recorded.Where(replay.Repeat));
        }

        List<JsonElement> again = Parse(System.Text.Encoding.UTF8.GetString(record.ToArray()).Split('\n'), "the replay");
        terminal.Line($"{repeated.Count} of {recorded.Count} calls repeated on '{topology.Name}'");
        return Compare(terminal, repeated, again, [file, "replay"]);
    }

    private static ExitCode Compare(Terminal terminal, List<JsonElement> one, List<JsonElement> other, string[] names)
    {
        int differences = 0;
        for (int i = 0; i < Math.Max(one.Count, other.Count) && differences < MostDifferences; i++)
        {
            if (i >= one.Count || i >= other.Count)
            {
                terminal.Line($"{names[i >= one.Count ? 0 : 1]} ends after {i} calls, {names[i >= one.Count ? 1 : 0]} does not");
                return ExitCode.No;
            }

            if (Difference(one[i], other[i]) is { } what)
            {
                differences++;
                terminal.Line($"call {i + 1}: {what}");
                terminal.Line($"  {names[0]}: {Line(one[i])}");
                terminal.Line($"  {names[1]}: {Line(other[i])}");
            }
        }

        terminal.Line(differences == 0
            ? $"no differences in {one.Count} calls"
            : $"{differences}{(differences == MostDifferences ? " or more" : "")} calls differ");
        return differences == 0 ? ExitCode.Ok : ExitCode.No;
    }

    // Null, or what is not the same: the call, its result, or a field of it.
    private static string? Difference(JsonElement one, JsonElement other)
    {
        if (Text(one, "call") != Text(other, "call"))
        {
            return "another call";
        }

        string errno = Text(one, "errno"), otherErrno = Text(other, "errno");
        if (errno != otherErrno)
        {
            return $"{(errno.Length == 0 ? "success" : errno)} became {(otherErrno.Length == 0 ? "success" : otherErrno)}";
        }

        if (Text(one, "call") is not ("open" or "mmap") && Text(one, "result") != Text(other, "result")
            && !Line(one).Contains("_FD", StringComparison.Ordinal))
        {
            return $"result {Text(one, "result")} became {Text(other, "result")}";
        }

        foreach (string part in (string[])["in", "out"])
        {
            Dictionary<string, string> fields = Fields(one, part), otherFields = Fields(other, part);
            foreach (string name in fields.Keys.Union(otherFields.Keys))
            {
                string value = fields.GetValueOrDefault(name, "nothing"), otherValue = otherFields.GetValueOrDefault(name, "nothing");
                if (value != otherValue && !s_incidental.Contains(name) && !name.EndsWith("_fd", StringComparison.Ordinal)
                    && !name.EndsWith("_uptr", StringComparison.Ordinal)
                    && !(name == "data" && part == "in") && !(name == "offset" && IsRegion(value, otherValue)))
                {
                    return $"{name} {value} became {otherValue}";
                }
            }
        }

        return null;
    }

    // Offsets of regions have one bit more for a program than in this process.
    private static bool IsRegion(string one, string other) =>
        ulong.TryParse(one, CultureInfo.InvariantCulture, out ulong a) && ulong.TryParse(other, CultureInfo.InvariantCulture, out ulong b)
            && ((a ^ b) & ~(1UL << 62)) == 0;

    private static Dictionary<string, string> Fields(JsonElement call, string part) => call.TryGetProperty(part, out JsonElement fields)
        ? fields.EnumerateObject().GroupBy(static field => field.Name)
            .ToDictionary(static field => field.Key, static field => field.First().Value.ToString())
        : [];

    private static string Line(JsonElement call)
    {
        string input = string.Join(", ", Fields(call, "in").Select(static field => $"{field.Key}={field.Value}"));
        string output = string.Join(", ", Fields(call, "out").Select(static field => $"{field.Key}={field.Value}"));
        string errno = Text(call, "errno");
        return $"{Text(call, "call")}({input}{(output.Length == 0 ? "" : " => " + output)}) = {(errno.Length == 0 ? Text(call, "result") : errno)}";
    }

    private static string Text(JsonElement call, string name) => call.TryGetProperty(name, out JsonElement value) ? value.ToString() : "";

    private static List<JsonElement> Read(string file)
    {
        try
        {
            return Parse(File.ReadAllLines(file), file);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CommandFailure(ExitCode.NotFound, $"the record {file} cannot be read: {exception.Message.TrimEnd('.')}.",
                "--trace FILE.jsonl writes one.");
        }
    }

    private static List<JsonElement> Parse(string[] lines, string file)
    {
        List<JsonElement> calls = [];
        for (int i = 0; i < lines.Length; i++)
        {
            if (lines[i].Length == 0)
            {
                continue;
            }

            try
            {
                using JsonDocument document = JsonDocument.Parse(lines[i]);
                calls.Add(document.RootElement.ValueKind == JsonValueKind.Object
                    ? document.RootElement.Clone()
                    : throw new JsonException("not an object"));
            }
            catch (JsonException)
            {
                throw new CommandFailure(ExitCode.Usage, $"{file}: line {i + 1} is not a recorded call.",
                    "Records are JSON lines, as --trace FILE.jsonl writes them.");
            }
        }

        return calls;
    }
}
