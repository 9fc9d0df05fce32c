using System.Globalization;
using System.Reflection;
using System.Text;
using IommuFd.Native.Uapi;

namespace Native.Tests.Abi;

/// <summary>One statement about the ABI that the C compiler can refute.</summary>
/// <param name="Subject">What it is about: "type", "type.member" or "class.constant".</param>
/// <param name="Condition">C constant expression.</param>
internal sealed record AbiAssertion(string Subject, string Condition);

/// <summary>All statements that <c>IommuFd.Native.Uapi</c> makes, by reflection.</summary>
internal static class AbiAssertions
{
    private const BindingFlags Instance = BindingFlags.Public | BindingFlags.Instance;
    private const BindingFlags Static = BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly;

    internal static IReadOnlyList<Type> Types { get; } =
        [.. typeof(iommu_destroy).Assembly.GetExportedTypes().Where(t => t.Namespace == typeof(iommu_destroy).Namespace)];

    /// <summary>The headers that declare a type; a class of constants is named after its header.</summary>
    internal static IReadOnlyList<Header> JudgesOf(Type type) => type switch
    {
        { IsClass: true } => type == typeof(Iommufd) ? [Header.Iommufd] : type == typeof(Vfio) ? [Header.Vfio] : [Header.Rfc],
        { IsEnum: true } => [.. Header.All.Where(h => h.Enums.Contains(type.Name))],
        _ => [.. Header.All.Where(h => h.Structs.ContainsKey(type.Name))],
    };

    internal static IEnumerable<AbiAssertion> Of(Header header) => Types.Where(t => JudgesOf(t).Contains(header)).SelectMany(Of);

    /// <summary>A C source text that compiles when, and only when, all assertions hold.</summary>
    internal static string Source(Header header, IEnumerable<AbiAssertion> assertions)
    {
        var text = new StringBuilder().Append(CultureInfo.InvariantCulture, $"#include <{header.Name}>\n");
        foreach (AbiAssertion assertion in assertions)
        {
            text.Append(CultureInfo.InvariantCulture, $"_Static_assert({assertion.Condition}, \"{assertion.Subject}\");\n");
        }

        return text.ToString();
    }

    private static IEnumerable<AbiAssertion> Of(Type type)
        => type.IsClass ? type.GetFields(Static).Select(Constant)
            : type.IsEnum ? Enum(type)
            : Struct(type);

    private static AbiAssertion Constant(FieldInfo constant)
    {
        string c = constant.Name;
        return new($"{constant.DeclaringType!.Name}.{c}", constant.GetRawConstantValue() switch
        {
            string text => $"__builtin_strcmp({c}, \"{text}\") == 0",
            // 1 << 31 is negative in C: a 32-bit constant is compared as the field it goes into.
            uint number => $"(__u32)({c}) == {number}U",
            object number => $"(long long)({c}) == {number}LL",
            null => "0",
        });
    }

    private static IEnumerable<AbiAssertion> Enum(Type type)
    {
        yield return new(type.Name, $"sizeof(enum {type.Name}) == {ManagedLayout.SizeOf(type.GetEnumUnderlyingType())}");
        foreach (FieldInfo member in type.GetFields(Static))
        {
            yield return new($"{type.Name}.{member.Name}", $"(long long)({member.Name}) == {member.GetRawConstantValue()}LL");
        }
    }

    private static IEnumerable<AbiAssertion> Struct(Type type)
    {
        string c = $"struct {type.Name}";
        yield return new(type.Name, $"sizeof({c}) == {ManagedLayout.SizeOf(type)}");
        foreach (FieldInfo field in type.GetFields(Instance))
        {
            string subject = $"{type.Name}.{field.Name}";
            string path = Exclusions.Paths.GetValueOrDefault(subject, field.Name);
            string member = $"(({c} *)0)->{path}";
            (int offset, int size) = ManagedLayout.Of(field);
            yield return new(subject, $"__builtin_offsetof({c}, {path}) == {offset} && sizeof({member}) == {size}");
            if (field.FieldType.IsPrimitive && subject != "vfio_bitmap.data")
            {
                string sign = field.FieldType == typeof(int) ? "<" : ">";
                yield return new(subject, $"(__typeof__({member}))-1 {sign} 0 || sizeof({member}) < sizeof(int)");
            }
        }

        foreach (FieldInfo offset in type.GetFields(Static))
        {
            string array = offset.Name[..^"_offset".Length];
            yield return new($"{type.Name}.{offset.Name}", $"__builtin_offsetof({c}, {array}) == {offset.GetRawConstantValue()}");
        }
    }
}
