using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace IommuFd.Native;

/// <summary>Where a trace goes: one line a call for people, one JSON object a line for programs.</summary>
internal sealed class Tracer(TextWriter? text, Stream? record) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly long _start = Stopwatch.GetTimestamp();
    private long _number;

    /// <summary>Writes one call. <paramref name="output"/> are the values that the call changed.</summary>
    internal void Write(
        string call, IReadOnlyList<(string Key, TraceValue Value)> input, IReadOnlyList<(string Key, TraceValue Value)>? output,
        long result, bool address = false)
    {
        lock (_gate)
        {
            _number++;
            text?.WriteLine(Line(call, input, output, result, address));
            if (record is not null)
            {
                using (Utf8JsonWriter writer = new(record))
                {
                    writer.WriteStartObject();
                    writer.WriteNumber("n", _number);
                    writer.WriteNumber("us", (long)Stopwatch.GetElapsedTime(_start).TotalMicroseconds);
                    writer.WriteNumber("thread", Environment.CurrentManagedThreadId);
                    writer.WriteString("call", call);
                    WriteObject(writer, "in", input);
                    if (output is { Count: > 0 })
                    {
                        WriteObject(writer, "out", output);
                    }

                    writer.WriteNumber("result", result);
                    if (result is < 0 and >= -4095)
                    {
                        writer.WriteString("errno", Errno.Name((int)-result));
                    }

                    writer.WriteEndObject();
                }

                record.WriteByte((byte)'\n');
            }
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            text?.Flush();
            record?.Flush();
        }
    }

    private static string Line(
        string call, IReadOnlyList<(string Key, TraceValue Value)> input, IReadOnlyList<(string Key, TraceValue Value)>? output,
        long result, bool address)
    {
        StringBuilder line = new(call);
        _ = line.Append('(').AppendJoin(", ",
            input.Select(static item => item.Key.Length == 0 || item.Key[0] == '.' ? item.Value.Text : $"{item.Key}={item.Value.Text}"));
        if (output is { Count: > 0 })
        {
            _ = line.Append(" => ").AppendJoin(", ", output.Select(static item => $"{item.Key}={item.Value.Text}"));
        }

        _ = line.Append(") = ");
        return result is < 0 and >= -4095
            ? line.Append(CultureInfo.InvariantCulture, $"-1 {Errno.Name((int)-result)} ({Errno.Describe((int)-result)})").ToString()
            : address ? line.Append(CultureInfo.InvariantCulture, $"0x{result:x}").ToString()
            : line.Append(CultureInfo.InvariantCulture, $"{result}").ToString();
    }

    private static void WriteObject(Utf8JsonWriter writer, string name, IReadOnlyList<(string Key, TraceValue Value)> values)
    {
        writer.WriteStartObject(name);
        foreach ((string key, TraceValue value) in values)
        {
            writer.WritePropertyName(key.TrimStart('.'));
            value.WriteTo(writer);
        }

        writer.WriteEndObject();
    }
}
