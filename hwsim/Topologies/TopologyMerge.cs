using System.Text.Json;
using System.Text.Json.Nodes;

namespace IommuFd.HwSim;

/// <summary>
/// A topology may extend another one: objects are merged field by field and null takes a field away (RFC 7396), functions are matched by their
/// address.
/// </summary>
internal static class TopologyMerge
{
    private const int MaximumDepth = 8;

    /// <summary>How a topology's text is read: comments and trailing commas are allowed.</summary>
    public static JsonDocumentOptions Options => new() { AllowTrailingCommas = true, CommentHandling = JsonCommentHandling.Skip };

    /// <summary>The text with everything that it extends.</summary>
    public static string Resolve(string json)
    {
        JsonNode? node = JsonNode.Parse(json, documentOptions: Options);
        return node is JsonObject topology ? Resolve(topology, 0).ToJsonString() : json;
    }

    private static JsonObject Resolve(JsonObject topology, int depth)
    {
        if (topology["extends"] is not JsonNode extends)
        {
            return topology;
        }

        if (depth > MaximumDepth || extends.GetValueKind() != JsonValueKind.String
            || !BuiltInTopologies.TryGet(extends.GetValue<string>(), out string json))
        {
            throw new TopologyException($"'extends' is {extends.ToJsonString()}; it is one of {string.Join(", ", BuiltInTopologies.Names)}");
        }

        topology.Remove("extends");
        JsonObject whole = Resolve(JsonNode.Parse(json, documentOptions: Options)!.AsObject(), depth + 1);
        Merge(whole, topology);
        return whole;
    }

    private static void Merge(JsonObject whole, JsonObject patch)
    {
        foreach ((string name, JsonNode? value) in patch.ToArray())
        {
            if (value is null)
            {
                whole.Remove(name);
            }
            else if (name == "functions" && value is JsonArray functions && whole[name] is JsonArray known)
            {
                MergeFunctions(known, functions);
            }
            else if (value is JsonObject part && whole[name] is JsonObject old)
            {
                Merge(old, part);
            }
            else
            {
                whole[name] = value.DeepClone();
            }
        }
    }

    private static void MergeFunctions(JsonArray known, JsonArray patches)
    {
        foreach (JsonNode? patch in patches)
        {
            if (patch is JsonObject function
                && known.FirstOrDefault(k => k?["address"]?.ToString() == function["address"]?.ToString()) is JsonObject same)
            {
                Merge(same, function);
            }
            else
            {
                known.Add(patch?.DeepClone());
            }
        }
    }
}
