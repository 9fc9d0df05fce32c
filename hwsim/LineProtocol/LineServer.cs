using System.Buffers;
using System.Text.Json;
using IommuFd.HwSim.PageTables;
using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.LineProtocol;

/// <summary>
/// Answers one JSON request a line with one JSON answer a line, so that another model of an IOMMU can be compared with this one from outside.
/// The requests are in <c>docs/page-tables.md</c>.
/// </summary>
/// <remarks>Nothing that a request holds ends the server: what cannot be done is answered with <c>error</c>.</remarks>
public sealed partial class LineServer : IDisposable
{
    private readonly MemoryImage _image = new();
    private readonly Dictionary<(ushort Device, uint Pasid), (PageTableTool Tool, ulong Root)> _tables = [];
    private UnitPort? _unit;

    /// <summary>Answers one request.</summary>
    /// <param name="request">One JSON object, UTF-8.</param>
    /// <param name="answer">Gets one JSON object, without the end of the line.</param>
    public void Answer(ReadOnlyMemory<byte> request, IBufferWriter<byte> answer)
    {
        using var writer = new Utf8JsonWriter(answer);
        writer.WriteStartObject();
        try
        {
            using var document = JsonDocument.Parse(request);
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
                throw new RequestException("a request is an object");
            if (root.TryGetProperty("id", out var id))
            {
                writer.WritePropertyName("id");
                id.WriteTo(writer);
            }

            Do(root, writer);
        }
        catch (JsonException)
        {
            writer.WriteString("error", "the line is not JSON");
        }
        catch (RequestException exception)
        {
            writer.WriteString("error", exception.Message);
        }

        writer.WriteEndObject();
    }

    /// <summary>Gives the memory back.</summary>
    public void Dispose() => _image.Dispose();

    private void Do(JsonElement request, Utf8JsonWriter answer)
    {
        switch (request.Text("op"))
        {
            case "translate":
                Translate(request, answer);
                return;
            case "memory":
                AddMemory(request.Number("address"), request.Number("size"));
                break;
            case "load":
                Load(request);
                break;
            case "read":
                Read(request, answer);
                break;
            case "tables":
                var format = request.Text("format");
                var tool = PageTableFormats.Find(format, (int)request.NumberOr("paBits", 0))
                    ?? throw new RequestException($"there is no format '{format}'");
                _tables[Key(request)] = (tool, request.Number("root"));
                break;
            case "unit":
                var kind = request.Text("kind");
                _unit = UnitPort.Make(kind, _image.Memory)
                    ?? throw new RequestException($"there is no unit '{kind}': it is vtd, smmuv3, riscv or amd-vi");
                break;
            case "write-register":
                Unit.Write(Offset(request), Bytes(request), request.Number("value"));
                break;
            case "read-register":
                answer.WriteString("value", $"0x{Unit.Read(Offset(request), Bytes(request)):x}");
                break;
            case var other:
                throw new RequestException($"there is no op '{other}'");
        }

        answer.WriteBoolean("ok", true);
    }

    private UnitPort Unit => _unit ?? throw new RequestException("there is no unit; begin with op unit");

    private static (ushort, uint) Key(JsonElement request)
    {
        var device = request.NumberOr("device", 0);
        var pasid = request.NumberOr("pasid", DmaRequest.NoPasid);
        if (device > 0xFFFF || (pasid != DmaRequest.NoPasid && pasid > 0xF_FFFF))
            throw new RequestException("device has 16 bits, pasid 20");
        return ((ushort)device, (uint)pasid);
    }

    private static int Bytes(JsonElement request) => request.Number("bytes") is (4 or 8) and var bytes
        ? (int)bytes
        : throw new RequestException("bytes is 4 or 8");

    private static int Offset(JsonElement request)
    {
        var offset = request.Number("offset");
        return offset < 0x20000 && offset % 4 == 0 ? (int)offset : throw new RequestException("offset is a multiple of 4 below 0x20000");
    }

    private void Translate(JsonElement request, Utf8JsonWriter answer)
    {
        var (device, pasid) = Key(request);
        var iova = request.Number("iova");
        var access = Access(request);
        if (_unit is { } unit)
        {
            var ok = unit.Unit.Translate(new DmaRequest(device, pasid, iova, (DmaAccess)access & (DmaAccess)15), out var translation);
            answer.WriteBoolean("ok", ok);
            if (!ok)
            {
                answer.WriteNumber("reason", translation.Reason);
                return;
            }

            Found(answer, translation.Output, translation.SizeLg2, (PageAttributes)translation.Allowed);
            return;
        }

        if (!_tables.TryGetValue((device, pasid), out var tables))
            throw new RequestException($"no tables were described for device 0x{device:x}{(pasid == DmaRequest.NoPasid ? "" : $", pasid {pasid}")}");
        var translated = tables.Tool.Translate(_image.Memory, tables.Root, iova, access, out var result);
        answer.WriteBoolean("ok", translated);
        if (translated)
        {
            Found(answer, result.Output, result.SizeLg2, result.Attributes);
            return;
        }

        answer.WriteString("fault", result.Fault.ToString());
        answer.WriteNumber("level", result.Level);
        answer.WriteString("entry", $"0x{result.Entry:x}");
        answer.WriteString("entryAddress", $"0x{result.EntryAddress:x}");
    }

    private static void Found(Utf8JsonWriter answer, ulong output, int sizeLg2, PageAttributes allowed)
    {
        answer.WriteString("output", $"0x{output:x}");
        answer.WriteNumber("pageSizeLg2", sizeLg2);
        answer.WriteString("allowed", (allowed & (PageAttributes)7) switch
        {
            PageAttributes.Read => "r",
            PageAttributes.Write => "w",
            PageAttributes.Read | PageAttributes.Write => "rw",
            PageAttributes.Read | PageAttributes.Execute => "rx",
            PageAttributes.Write | PageAttributes.Execute => "wx",
            PageAttributes.Execute => "x",
            0 => "",
            _ => "rwx",
        });
    }

    private static WalkAccess Access(JsonElement request)
    {
        var access = WalkAccess.None;
        foreach (var letter in request.TryGetProperty("access", out _) ? request.Text("access") : "r")
        {
            access |= letter switch
            {
                'r' => WalkAccess.Read,
                'w' => WalkAccess.Write,
                'x' => WalkAccess.Execute,
                'p' => WalkAccess.Privileged,
                _ => throw new RequestException("access is made of r, w, x and p"),
            };
        }

        return access;
    }
}
