using System.Globalization;
using System.Text.Json;

namespace IommuFd.HwSim.LineProtocol;

// Memory: RAM is what was added; load adds what is not there yet.
public sealed unsafe partial class LineServer
{
    private const ulong MaxBytes = 1UL << 30;

    private void AddMemory(ulong address, ulong size)
    {
        if (size is 0 or > MaxBytes)
            throw new RequestException("size is 1 byte to 1 GiB");
        if (!_image.TryAdd(address, new byte[size]))
            throw new RequestException("memory is there already, or does not lie below 0xffbfffffe00000");
    }

    private void Load(JsonElement request)
    {
        var address = request.Number("address");
        var bytes = request.TryGetProperty("words", out var words) ? Words(words) : Hex(request.Text("hex"));
        if (bytes.Length == 0)
            throw new RequestException("there are no bytes");
        if (_image.Memory.TryGet(address, (ulong)bytes.Length) == null)
        {
            if (!_image.TryAdd(address, bytes))
                throw new RequestException("a part of the range is memory and a part is not; add memory first");
            return;
        }

        // SAFETY: the destination was checked by CopyIn itself, the source is pinned for its length.
        fixed (byte* from = bytes)
            _ = _image.Memory.CopyIn(address, from, (ulong)bytes.Length);
    }

    private void Read(JsonElement request, Utf8JsonWriter answer)
    {
        var length = request.Number("length");
        if (length is 0 or > MaxBytes / 1024)
            throw new RequestException("length is 1 byte to 1 MiB");
        var bytes = new byte[length];
        fixed (byte* to = bytes)
        {
            // SAFETY: CopyOut checks the source, the destination is pinned for its length.
            if (_image.Memory.CopyOut(request.Number("address"), to, length) != length)
                throw new RequestException("the range is not all memory");
        }

        answer.WriteString("hex", Convert.ToHexStringLower(bytes));
    }

    private static byte[] Hex(string text)
    {
        try
        {
            return Convert.FromHexString(text);
        }
        catch (FormatException)
        {
            throw new RequestException("hex is pairs of hexadecimal digits");
        }
    }

    private static byte[] Words(JsonElement words)
    {
        if (words.ValueKind != JsonValueKind.Array)
            throw new RequestException("words is a list of 64-bit numbers");
        var bytes = new byte[words.GetArrayLength() * 8];
        var at = 0;
        foreach (var word in words.EnumerateArray())
        {
            BitConverter.TryWriteBytes(bytes.AsSpan(at), Requests.Value(word, "words"));
            at += 8;
        }

        return bytes;
    }
}

/// <summary>Members of a request.</summary>
internal static class Requests
{
    internal static string Text(this JsonElement request, string name) =>
        request.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String
            ? value.GetString()!
            : throw new RequestException($"{name} is missing, or not a string");

    internal static ulong Number(this JsonElement request, string name) =>
        request.TryGetProperty(name, out var value) ? Value(value, name) : throw new RequestException($"{name} is missing");

    internal static ulong NumberOr(this JsonElement request, string name, ulong absent) =>
        request.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? Value(value, name) : absent;

    // Numbers over 2^53 do not survive many JSON writers, so a string with 0x is as good.
    internal static ulong Value(JsonElement value, string name)
    {
        if (value.ValueKind == JsonValueKind.Number && value.TryGetUInt64(out var number))
            return number;
        if (value.ValueKind == JsonValueKind.String && value.GetString() is { } text)
        {
            if (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
                ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number)
                : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number))
                return number;
        }

        throw new RequestException($"{name} is not a number: 4096 or \"0x1000\"");
    }
}

/// <summary>A request that cannot be done; the message is the answer.</summary>
#pragma warning disable CA1032, CA1064 // made and caught here only
internal sealed class RequestException(string message) : Exception(message);
#pragma warning restore CA1032, CA1064
