using System.Reflection;
using CommandLine;
using CommandLine.Text;
using VfioCli.Verbs;

namespace VfioCli.CommandLine;

/// <summary>An option of a verb, read from its attribute.</summary>
/// <param name="Name">Without the dashes.</param>
/// <param name="Value">What stands behind it, or null for a switch.</param>
/// <param name="Help">What it does.</param>
/// <param name="Default">Its default, or null.</param>
internal sealed record OptionDescription(string Name, string? Value, string Help, string? Default);

/// <summary>A verb, read from its attributes: what completion and the manual are made of, so that neither can differ from the parser.</summary>
/// <param name="Name">The verb.</param>
/// <param name="Help">What it does.</param>
/// <param name="Options">Its options.</param>
/// <param name="Values">Its values: name, help, required.</param>
/// <param name="Type">The class.</param>
internal sealed record VerbDescription(string Name, string Help, IReadOnlyList<OptionDescription> Options,
    IReadOnlyList<(string Name, string Help, bool Required)> Values, Type Type)
{
    /// <summary>Every verb.</summary>
    public static IReadOnlyList<VerbDescription> All { get; } = [.. VerbParser.Verbs.Select(Of)];

    /// <summary>Whether its values are PCI functions.</summary>
    public bool TakesFunctions => Type.IsSubclassOf(typeof(FunctionsVerb))
        || Values.Any(static value => value.Name.Contains("BDF", StringComparison.Ordinal) || value.Name == "PATTERN");

    /// <summary>How many values it takes at most.</summary>
    public int MostValues => Type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
        .Any(static property => property.IsDefined(typeof(ValueAttribute)) && property.PropertyType != typeof(string)
            && typeof(System.Collections.IEnumerable).IsAssignableFrom(property.PropertyType))
        ? int.MaxValue : Values.Count;

    /// <summary>The examples of its help.</summary>
    public IEnumerable<Example> Examples => Type.GetProperties(BindingFlags.Public | BindingFlags.Static)
        .Where(static property => property.IsDefined(typeof(UsageAttribute)))
        .SelectMany(static property => (IEnumerable<Example>)property.GetValue(null)!);

    private static VerbDescription Of(Type type)
    {
        VerbAttribute verb = type.GetCustomAttribute<VerbAttribute>()!;
        PropertyInfo[] properties = type.GetProperties(BindingFlags.Public | BindingFlags.Instance);
        return new VerbDescription(
            verb.Name,
            verb.HelpText,
            [.. properties.Select(static property => (Property: property, Option: property.GetCustomAttribute<OptionAttribute>()))
                .Where(static pair => pair.Option is not null)
                .Select(static pair => new OptionDescription(
                    pair.Option!.LongName, pair.Property.PropertyType == typeof(bool) ? null : pair.Option.MetaValue, pair.Option.HelpText,
                    pair.Option.Default?.ToString()))],
            [.. properties.Select(static property => property.GetCustomAttribute<ValueAttribute>()).OfType<ValueAttribute>()
                .OrderBy(static value => value.Index)
                .Select(static value => (value.MetaName, value.HelpText, value.Required))],
            type);
    }
}
