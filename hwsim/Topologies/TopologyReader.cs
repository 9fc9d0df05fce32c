using System.Globalization;
using System.Text.Json;

namespace IommuFd.HwSim;

/// <summary>
/// Turns the JSON form of a topology into records. An unknown or wrong field is an error: a typing mistake must not be a different machine.
/// </summary>
internal static class TopologyReader
{
    private static readonly string[] s_parts = ["iommufd", "vfio-cdev", "vfio-group", "vfio-noiommu", "vfio-pci", "mdev"];

    public static Topology Read(JsonElement root)
    {
        var at = new Place(root, "the topology");
        at.Only("name", "description", "kernel", "dialect", "commandLine", "iommu", "without", "parameters", "process", "iomem", "files", "links",
            "holders", "functions");
        FunctionTopology[] functions = [.. at.Items("functions", required: true).Select(ReadFunction)
            .OrderBy(static f => f.Address, StringComparer.Ordinal)];
        for (int i = 1; i < functions.Length; i++)
        {
            if (functions[i].Address == functions[i - 1].Address)
            {
                throw new TopologyException($"function {functions[i].Address} is there twice");
            }
        }

        string[] without = at.Texts("without");
        if (without.FirstOrDefault(static part => !s_parts.Contains(part)) is string unknown)
        {
            throw new TopologyException($"'without' has '{unknown}', which is no part; known are {string.Join(", ", s_parts)}");
        }

        return new Topology
        {
            Name = at.Text("name") ?? throw at.Missing("name"),
            Description = at.Text("description") ?? "",
            KernelRelease = at.Text("kernel") ?? "7.3.4",
            Dialect = at.OneOf("dialect", "mainline", "rfc"),
            CommandLine = at.Text("commandLine") ?? "",
            Iommu = at.Object("iommu") is { } iommu ? ReadIommu(iommu) : null,
            Without = without,
            Parameters = at.Map("parameters"),
            Process = at.Object("process") is { } process ? ReadProcess(process) : new ProcessTopology(),
            Iomem = at.Texts("iomem"),
            Files = at.Map("files"),
            Links = at.Map("links"),
            Holders = [.. at.Items("holders", required: false).Select(ReadHolder)],
            Functions = functions,
        };
    }

    private static IommuTopology ReadIommu(Place at)
    {
        at.Only("kind", "scalable", "lacks", "addressBits", "interruptRemapping", "cacheCoherent");
        return new IommuTopology
        {
            Kind = at.Text("kind") ?? throw at.Missing("kind"),
            Scalable = at.Flag("scalable") ?? false,
            Lacks = at.Texts("lacks", "first-stage", "nesting", "dirty-tracking", "device-tlb", "snoop-control"),
            AddressBits = (int)(at.Number("addressBits", 64) ?? 48),
            InterruptRemapping = at.Flag("interruptRemapping") ?? true,
            CacheCoherent = at.Flag("cacheCoherent") ?? true,
        };
    }

    private static ProcessTopology ReadProcess(Place at)
    {
        at.Only("uid", "privileged", "memlock");
        return new ProcessTopology
        {
            UserId = (uint)(at.Number("uid", uint.MaxValue) ?? 0),
            Privileged = at.Flag("privileged") ?? true,
            MemoryLock = at.Number("memlock", ulong.MaxValue) ?? 8 << 20,
        };
    }

    private static HolderTopology ReadHolder(Place at)
    {
        at.Only("pid", "name", "devices");
        return new HolderTopology
        {
            ProcessId = (int)(at.Number("pid", int.MaxValue) ?? throw at.Missing("pid")),
            Name = at.Text("name") ?? throw at.Missing("name"),
            Devices = at.Texts("devices"),
        };
    }

    private static FunctionTopology ReadFunction(Place at)
    {
        string text = at.Text("address") ?? throw at.Missing("address");
        if (!PciAddress.TryParse(text, out PciAddress address))
        {
            throw new TopologyException($"'{text}' is not a PCI address; it has the form 0000:00:04.0");
        }

        at = at with { Name = $"function {address}" };
        at.Only(
            "address", "model", "properties", "id", "subsystem", "class", "revision", "configSize", "config", "bars", "vfBars", "vfConfig", "irq",
            "pin", "secondaryBus", "acs", "numaNode", "bypassIommu", "reserved");
        (ushort vendor, ushort device) = at.Ids("id") ?? (0, 0);
        (ushort subVendor, ushort subDevice) = at.Ids("subsystem") ?? (0, 0);
        return new FunctionTopology
        {
            Address = address.ToString(),
            Model = at.Text("model"),
            Properties = at.Map("properties"),
            Vendor = vendor,
            Device = device,
            SubsystemVendor = subVendor,
            SubsystemDevice = subDevice,
            Class = (uint)(at.Hex("class", 0xffffff) ?? 0),
            Revision = (byte)(at.Hex("revision", 0xff) ?? 0),
            ConfigSize = (int)(at.Number("configSize", 4096) ?? 256),
            Config = at.Bytes("config"),
            Bars = [.. at.Items("bars", required: false).Select(ReadBar)],
            VfBars = [.. at.Items("vfBars", required: false).Select(ReadBar)],
            VfConfig = at.Bytes("vfConfig"),
            Irq = (uint)(at.Number("irq", 255) ?? 0),
            InterruptPin = (byte)(at.Number("pin", 4) ?? 0),
            SecondaryBus = (byte?)at.Number("secondaryBus", 255),
            Acs = at.Flag("acs") ?? false,
            NumaNode = (int)((long?)at.Number("numaNode", 1023) ?? -1),
            BypassIommu = at.Flag("bypassIommu") ?? false,
            Reserved = [.. at.Items("reserved", required: false).Select(ReadReserved)],
        };
    }

    private static BarTopology ReadBar(Place at)
    {
        at.Only("index", "kind", "size", "address", "memory", "mmap");
        string kind = at.Text("kind") ?? "memory32";
        ulong size = at.Number("size", ulong.MaxValue) ?? throw at.Missing("size");
        if (!ulong.IsPow2(size) || size < 4)
        {
            throw new TopologyException($"{at.Name}: size 0x{size:x} is not a power of two");
        }

        return new BarTopology
        {
            Index = (int)(at.Number("index", 5) ?? throw at.Missing("index")),
            Kind = Enum.TryParse(kind, ignoreCase: true, out BarKind found)
                ? found
                : throw new TopologyException($"{at.Name}: '{kind}' is not a kind of BAR: {string.Join(", ", Enum.GetNames<BarKind>())}"),
            Size = size,
            Address = at.Number("address", ulong.MaxValue) ?? 0,
            Memory = at.Flag("memory") ?? false,
            IsPolled = at.Text("mmap") switch
            {
                null => false,
                "polled" => true,
                string other => throw new TopologyException($"{at.Name}: 'mmap' is '{other}'; it is polled, or not there"),
            },
        };
    }

    private static ReservedTopology ReadReserved(Place at)
    {
        at.Only("start", "end", "type");
        return new ReservedTopology(
            at.Number("start", ulong.MaxValue) ?? throw at.Missing("start"), at.Number("end", ulong.MaxValue) ?? throw at.Missing("end"),
            at.Text("type") ?? "direct");
    }

    /// <summary>An object of the JSON text and how to speak of it.</summary>
    private readonly record struct Place(JsonElement Element, string Name)
    {
        public TopologyException Missing(string field) => new($"{Name} has no '{field}'");

        public void Only(params ReadOnlySpan<string> fields)
        {
            if (Element.ValueKind != JsonValueKind.Object)
            {
                throw new TopologyException($"{Name} is not an object");
            }

            foreach (JsonProperty property in Element.EnumerateObject())
            {
                if (!fields.Contains(property.Name))
                {
                    throw new TopologyException($"{Name} has a field '{property.Name}' that means nothing; known are {string.Join(", ", fields!)}");
                }
            }
        }

        public string? Text(string field) => Get(field, JsonValueKind.String) is { } value ? value.GetString() : null;

        // The first choice is what a missing field means.
        public string OneOf(string field, params ReadOnlySpan<string> choices) => Text(field) is not { } text ? choices[0]
            : choices.Contains(text) ? text
            : throw new TopologyException($"{Name}: '{field}' is '{text}'; known are {string.Join(", ", choices!)}");

        // A list of words out of a few.
        public string[] Texts(string field, params ReadOnlySpan<string> choices)
        {
            string[] texts = Texts(field);
            foreach (string text in texts)
            {
                if (!choices.Contains(text))
                {
                    throw new TopologyException($"{Name}: '{field}' has '{text}'; known are {string.Join(", ", choices!)}");
                }
            }

            return texts;
        }

        public bool? Flag(string field) => !Element.TryGetProperty(field, out JsonElement value) ? null : value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw new TopologyException($"{Name}: '{field}' is not true or false"),
        };

        // Numbers may be JSON numbers, or texts such as "0xfea00000".
        public ulong? Number(string field, ulong maximum)
        {
            if (!Element.TryGetProperty(field, out JsonElement value))
            {
                return null;
            }

            bool good = value.ValueKind switch
            {
                JsonValueKind.Number => value.TryGetUInt64(out _),
                JsonValueKind.String => TryNumber(value.GetString()!, out _),
                _ => false,
            };
            ulong number = !good
                ? 0
                : value.ValueKind == JsonValueKind.Number ? value.GetUInt64()
                : TryNumber(value.GetString()!, out ulong parsed) ? parsed
                : 0;
            return good && number <= maximum ? number : throw new TopologyException($"{Name}: '{field}' is not a number from 0 to {maximum}");
        }

        public ulong? Hex(string field, ulong maximum)
        {
            string? text = Text(field);
            return text is null ? null
                : ulong.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong value) && value <= maximum ? value
                : throw new TopologyException($"{Name}: '{field}' is not a hexadecimal number up to {maximum:x}");
        }

        public (ushort First, ushort Second)? Ids(string field)
        {
            string? text = Text(field);
            if (text is null)
            {
                return null;
            }

            string[] parts = text.Split(':');
            return parts.Length == 2
                && ushort.TryParse(parts[0], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ushort first)
                && ushort.TryParse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ushort second)
                ? (first, second)
                : throw new TopologyException($"{Name}: '{field}' is '{text}'; it has the form 8086:10c9");
        }

        public Place? Object(string field) => Get(field, JsonValueKind.Object) is { } value ? new Place(value, field) : null;

        public IEnumerable<Place> Items(string field, bool required)
        {
            string name = Name;
            JsonElement? list = Get(field, JsonValueKind.Array);
            return list is null
                ? required ? throw Missing(field) : []
                : list.Value.EnumerateArray().Select((element, i) => new Place(element, $"{name}, {field}[{i}]"));
        }

        public string[] Texts(string field)
        {
            string name = Name;
            return Get(field, JsonValueKind.Array) is not { } list ? [] : [.. list.EnumerateArray().Select(element =>
                element.ValueKind == JsonValueKind.String
                    ? element.GetString()!
                    : throw new TopologyException($"{name}: '{field}' holds something that is not a text"))];
        }

        public Dictionary<string, string> Map(string field)
        {
            var map = new Dictionary<string, string>(StringComparer.Ordinal);
            if (Get(field, JsonValueKind.Object) is { } value)
            {
                foreach (JsonProperty property in value.EnumerateObject())
                {
                    map[property.Name] = property.Value.ToString();
                }
            }

            return map;
        }

        public Dictionary<int, byte[]> Bytes(string field)
        {
            var map = new Dictionary<int, byte[]>();
            if (Get(field, JsonValueKind.Object) is not { } value)
            {
                return map;
            }

            foreach (JsonProperty property in value.EnumerateObject())
            {
                try
                {
                    map[int.Parse(property.Name, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)] =
                        Convert.FromHexString(property.Value.GetString()!.Replace(" ", "", StringComparison.Ordinal));
                }
                catch (Exception e) when (e is FormatException or InvalidOperationException or NullReferenceException or OverflowException)
                {
                    throw new TopologyException($"{Name}: '{field}' maps a hexadecimal offset to hexadecimal bytes; \"{property.Name}\" does not", e);
                }
            }

            return map;
        }

        private static bool TryNumber(string text, out ulong value) => text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value)
            : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);

        private JsonElement? Get(string field, JsonValueKind kind) =>
            !Element.TryGetProperty(field, out JsonElement value) || value.ValueKind == JsonValueKind.Null ? null
            : value.ValueKind == kind ? value
            : throw new TopologyException($"{Name}: '{field}' is not"
                + $" {(kind == JsonValueKind.Array ? "a list" : kind == JsonValueKind.Object ? "an object" : "a text")}");
    }
}
