using System.Text.Json;
using System.Text.RegularExpressions;

namespace VfioCli.Tests.Support;

/// <summary>
/// Judges a document by a JSON Schema, as far as docs/schema uses the language: type, const, enum, pattern, properties, required,
/// additionalProperties, items, $ref to $defs. Any other keyword is an error, so that none is ignored.
/// </summary>
internal static class JsonSchema
{
    private static readonly string[] s_annotations = ["$schema", "$id", "title", "description", "$defs"];

    /// <summary>What is wrong with a document; empty when nothing is.</summary>
    public static IReadOnlyList<string> Violations(JsonElement schema, JsonElement document)
    {
        List<string> found = [];
        Judge(schema, schema, document, "$", found);
        return found;
    }

    private static void Judge(JsonElement root, JsonElement schema, JsonElement value, string path, List<string> found)
    {
        foreach (JsonProperty keyword in schema.EnumerateObject())
        {
            switch (keyword.Name)
            {
                case "$ref":
                    Judge(root, root.GetProperty("$defs").GetProperty(keyword.Value.GetString()!.Split('/')[^1]), value, path, found);
                    break;
                case "type":
                    string[] types = keyword.Value.ValueKind == JsonValueKind.Array
                        ? [.. keyword.Value.EnumerateArray().Select(static each => each.GetString()!)] : [keyword.Value.GetString()!];
                    Require(types.Any(type => Is(type, value)), $"is {value.ValueKind}, not {string.Join(" or ", types)}");
                    break;
                case "const":
                    Require(value.ToString() == keyword.Value.ToString(), $"is {value}, not {keyword.Value}");
                    break;
                case "enum":
                    Require(keyword.Value.EnumerateArray().Any(each => each.ToString() == value.ToString()), $"{value} is not in the enumeration");
                    break;
                case "pattern":
                    Require(value.ValueKind != JsonValueKind.String || Regex.IsMatch(value.GetString()!, keyword.Value.GetString()!),
                        $"{value} does not match {keyword.Value}");
                    break;
                case "items":
                    foreach ((int index, JsonElement item) in value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().Index() : [])
                    {
                        Judge(root, keyword.Value, item, $"{path}[{index}]", found);
                    }

                    break;
                case "required":
                    foreach (JsonElement name in keyword.Value.EnumerateArray())
                    {
                        Require(value.TryGetProperty(name.GetString()!, out _), $"lacks {name}");
                    }

                    break;
                case "properties":
                    foreach (JsonProperty member in keyword.Value.EnumerateObject())
                    {
                        if (value.TryGetProperty(member.Name, out JsonElement found1))
                        {
                            Judge(root, member.Value, found1, $"{path}.{member.Name}", found);
                        }
                    }

                    break;
                case "additionalProperties":
                    foreach (JsonProperty member in value.EnumerateObject())
                    {
                        if (schema.TryGetProperty("properties", out JsonElement known) && known.TryGetProperty(member.Name, out _))
                        {
                            continue;
                        }

                        Require(keyword.Value.ValueKind != JsonValueKind.False, $"has the undocumented member {member.Name}");
                        if (keyword.Value.ValueKind == JsonValueKind.Object)
                        {
                            Judge(root, keyword.Value, member.Value, $"{path}.{member.Name}", found);
                        }
                    }

                    break;
                default:
                    Require(s_annotations.Contains(keyword.Name), $"the schema uses {keyword.Name}, which this judge does not know");
                    break;
            }
        }

        void Require(bool condition, string complaint)
        {
            if (!condition)
            {
                found.Add($"{path}: {complaint}");
            }
        }
    }

    private static bool Is(string type, JsonElement value) => type switch
    {
        "object" => value.ValueKind == JsonValueKind.Object,
        "array" => value.ValueKind == JsonValueKind.Array,
        "string" => value.ValueKind == JsonValueKind.String,
        "boolean" => value.ValueKind is JsonValueKind.True or JsonValueKind.False,
        "null" => value.ValueKind == JsonValueKind.Null,
        "integer" => value.ValueKind == JsonValueKind.Number && (value.TryGetInt64(out _) || value.TryGetUInt64(out _)),
        _ => false,
    };
}
