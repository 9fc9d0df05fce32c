using System.Text.Json;
using VfioCli.Output;

namespace VfioCli.Diagnosis;

/// <summary>How a check ended.</summary>
internal enum CheckResult
{
    /// <summary>As it should be.</summary>
    Pass,

    /// <summary>Worth knowing, not in the way.</summary>
    Warn,

    /// <summary>In the way.</summary>
    Fail,

    /// <summary>Not looked at, because an earlier check failed or the host does not say.</summary>
    Skip,
}

/// <summary>One thing that was looked at.</summary>
/// <param name="Name">What.</param>
/// <param name="Result">How it ended.</param>
/// <param name="Finding">What was found, as a clause.</param>
/// <param name="Remedy">What to do, as a sentence; empty when nothing needs doing.</param>
/// <param name="Evidence">Where it was seen: path=value.</param>
internal sealed record Check(string Name, CheckResult Result, string Finding, string Remedy = "", params IReadOnlyList<string> Evidence)
{
    /// <summary>The word for a table.</summary>
    public string Word => Result switch { CheckResult.Pass => "PASS", CheckResult.Warn => "WARN", CheckResult.Fail => "FAIL", _ => "SKIP" };

    /// <summary>Prints checks: a line each, evidence and remedy below what is not as it should be.</summary>
    public static void Print(Terminal terminal, IEnumerable<Check> checks)
    {
        foreach (Check check in checks)
        {
            terminal.Line($"{terminal.Paint(check.Word)}  {check.Name}: {check.Finding}");
            if (check.Result is CheckResult.Warn or CheckResult.Fail)
            {
                foreach (string evidence in check.Evidence)
                {
                    terminal.Line($"      {evidence}");
                }

                if (check.Remedy.Length > 0)
                {
                    terminal.Line($"      -> {check.Remedy}");
                }
            }
        }
    }

    /// <summary>Writes checks as an array.</summary>
    public static void Write(Utf8JsonWriter writer, string name, IEnumerable<Check> checks)
    {
        writer.WriteStartArray(name);
        foreach (Check check in checks)
        {
            writer.WriteStartObject();
            writer.WriteString("name", check.Name);
            writer.WriteString("result", check.Word);
            writer.WriteString("finding", check.Finding);
            writer.WriteString("remedy", check.Remedy);
            writer.WriteStrings("evidence", check.Evidence);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }
}
