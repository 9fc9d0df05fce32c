using System.Text.Encodings.Web;
using System.Text.Json;

namespace VfioCli.Output;

/// <summary>
/// One JSON document on stdout: <c>schema</c> (name and version), <c>host</c>, and what the verb adds. The schemas are in <c>docs/schema</c>.
/// </summary>
internal static class JsonReport
{
    /// <summary>Writes the document whose members <paramref name="body"/> adds.</summary>
    /// <param name="terminal">Where to.</param>
    /// <param name="schema">The schema's name and version: <c>vfio.list/1</c>.</param>
    /// <param name="body">Adds members to the root object.</param>
    public static void Write(Terminal terminal, string schema, Action<Utf8JsonWriter> body)
    {
        using MemoryStream bytes = new();
        using (Utf8JsonWriter writer = new(bytes, new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            writer.WriteString("schema", schema);
            body(writer);
            writer.WriteEndObject();
        }

        terminal.Out.WriteLine(System.Text.Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length));
    }

    /// <summary>A number or null.</summary>
    public static void WriteNumberOrNull(this Utf8JsonWriter writer, string name, long? value)
    {
        if (value is { } number)
        {
            writer.WriteNumber(name, number);
        }
        else
        {
            writer.WriteNull(name);
        }
    }

    /// <summary>An address or a mask: a string, because JSON readers lose bits of numbers over 2^53.</summary>
    public static void WriteHex(this Utf8JsonWriter writer, string name, ulong value) => writer.WriteString(name, $"0x{value:x}");

    /// <summary>A list of strings.</summary>
    public static void WriteStrings(this Utf8JsonWriter writer, string name, IEnumerable<string> values)
    {
        writer.WriteStartArray(name);
        foreach (string value in values)
        {
            writer.WriteStringValue(value);
        }

        writer.WriteEndArray();
    }
}
