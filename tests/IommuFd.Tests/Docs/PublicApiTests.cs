using System.Reflection;
using System.Text;

namespace IommuFd.Tests;

/// <summary>What users can call is a decision: a change of it is a change of a text beside this (UPDATE_GENERATED=1 rewrites it).</summary>
public sealed class PublicApiTests
{
    /// <summary>The kernel's structs in IommuFd.Native.Uapi are the C compiler's business (the ABI proof).</summary>
    [Theory]
    [InlineData(typeof(IommuHost), "PublicApi.txt")]
    [InlineData(typeof(Native.IHost), "PublicApi.Native.txt")]
    public void The_public_surface_is_the_one_written_down(Type member, string file)
    {
        Assert.SkipWhen(Repository.Root is null, "the sources are not here");
        string path = Path.Combine(Repository.Root!, "tests/IommuFd.Tests/Docs", file), surface = Describe(member.Assembly);
        if (Repository.Update)
        {
            File.WriteAllText(path, surface);
        }

        string[] now = surface.Split('\n'), written = File.ReadAllText(path).Split('\n');
        string gone = string.Join('\n', written.Except(now)), added = string.Join('\n', now.Except(written));
        Assert.True(gone.Length + added.Length == 0, $"Run the tests with UPDATE_GENERATED=1 if this is meant.\ngone:\n{gone}\nnew:\n{added}");
    }

    private static string Describe(Assembly assembly)
    {
        StringBuilder text = new();
        foreach (Type type in assembly.GetExportedTypes().Where(static t => !t.Namespace!.Contains(".Uapi", StringComparison.Ordinal))
            .OrderBy(static t => t.Namespace, StringComparer.Ordinal).ThenBy(static t => t.FullName, StringComparer.Ordinal))
        {
            text.Append($"{Kind(type)} {type.Namespace}.{Name(type)}\n");
            foreach (string member in type.GetMembers(BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly)
                .Select(Member).OfType<string>().Order(StringComparer.Ordinal))
            {
                text.Append($"{Name(type)}.{member}\n");
            }
        }

        return text.ToString();
    }

    private static string Kind(Type type) =>
        type.IsEnum ? "enum" : type.IsValueType ? "struct" : type.IsInterface ? "interface" : type.IsAbstract ? "abstract class" : "class";

    private static string? Member(MemberInfo member) => member switch
    {
        FieldInfo { IsSpecialName: false } field =>
            field.DeclaringType!.IsEnum ? $"{field.Name} = {Convert.ToInt64(field.GetRawConstantValue())}" : $"{field.Name}: {Name(field.FieldType)}",
        PropertyInfo property =>
            $"{property.Name}: {Name(property.PropertyType)}{(property.GetMethod?.IsPublic == true ? " get" : "")}"
                + $"{(property.SetMethod?.IsPublic == true ? " set" : "")}",
        ConstructorInfo constructor => $"new({Parameters(constructor)})",
        MethodInfo { IsSpecialName: false } method when method.GetBaseDefinition().DeclaringType != typeof(object) =>
            $"{method.Name}({Parameters(method)}): {Name(method.ReturnType)}",
        _ => null,
    };

    private static string Parameters(MethodBase method) =>
        string.Join(", ", method.GetParameters()
            .Select(static p => $"{(p.IsOut ? "out " : p.ParameterType.IsByRef ? "ref " : "")}{Name(p.ParameterType)} "
            + $"{p.Name}{(p.IsOptional ? "?" : "")}"));

    private static string Name(Type type)
    {
        if (type.IsByRef)
        {
            return Name(type.GetElementType()!);
        }

        if (!type.IsGenericType)
        {
            return type.Name;
        }

        string name = type.Name.Contains('`', StringComparison.Ordinal) ? type.Name[..type.Name.IndexOf('`')] : type.Name;
        return $"{name}<{string.Join(", ", type.GetGenericArguments().Select(Name))}>";
    }
}
