using System.Globalization;
using System.Text;
using System.Text.Json;

namespace IommuFd.Native;

/// <summary>A value in a trace: text for people, JSON for programs.</summary>
internal readonly record struct TraceValue(string Text, ulong? Number = null, byte[]? Bytes = null)
{
    private const int ShownBytes = 32;

    internal static TraceValue Of(long value) => new(value.ToString(CultureInfo.InvariantCulture), unchecked((ulong)value));

    internal static TraceValue Hex(ulong value) => new($"0x{value:x}", value);

    internal static TraceValue Quoted(string text) =>
        new('"' + text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal) + '"');

    internal static TraceValue Data(byte[] bytes)
    {
        StringBuilder text = new("[");
        _ = text.Append(Convert.ToHexStringLower(bytes.AsSpan(0, Math.Min(bytes.Length, ShownBytes))));
        return new(text.Append(bytes.Length > ShownBytes ? "...]" : "]").ToString(), null, bytes);
    }

    internal static TraceValue Flags(ulong value, params ReadOnlySpan<(int Bit, string Name)> names)
    {
        StringBuilder text = new();
        ulong rest = value;
        foreach ((int signed, string name) in names)
        {
            ulong bit = (uint)signed;
            if ((value & bit) == bit && (bit != 0 || value == 0))
            {
                _ = text.Append(text.Length == 0 ? "" : "|").Append(name);
                rest &= ~bit;
            }
        }

        if (rest != 0 || text.Length == 0)
        {
            _ = text.Append(text.Length == 0 ? "" : "|").Append(CultureInfo.InvariantCulture, $"0x{rest:x}");
        }

        return new(text.ToString(), value);
    }

    internal void WriteTo(Utf8JsonWriter writer)
    {
        if (Bytes is not null)
        {
            writer.WriteStringValue(Convert.ToHexStringLower(Bytes));
        }
        else if (Number is { } number)
        {
            writer.WriteNumberValue(unchecked((long)number) < 0 && Text.StartsWith('-') ? unchecked((long)number) : (decimal)number);
        }
        else
        {
            writer.WriteStringValue(Text.Length >= 2 && Text[0] == '"' ? Text[1..^1] : Text);
        }
    }
}
