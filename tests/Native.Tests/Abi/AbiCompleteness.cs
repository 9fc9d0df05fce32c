using System.Reflection;
using System.Runtime.CompilerServices;
using Xunit;

namespace Native.Tests.Abi;

/// <summary>Nothing in <c>IommuFd.Native.Uapi</c> is unjudged, nothing in the headers is missing without a reason.</summary>
public sealed class AbiCompleteness
{
    public static TheoryData<string> Headers => [.. Header.All.Select(h => h.Name)];

    [Fact]
    public void Every_public_type_is_judged_by_exactly_one_header()
        => Assert.All(AbiAssertions.Types, type => Assert.Single(AbiAssertions.JudgesOf(type)));

    [Fact]
    public void Every_public_member_is_asserted()
    {
        const BindingFlags all = BindingFlags.Public | BindingFlags.Static | BindingFlags.Instance | BindingFlags.DeclaredOnly;
        IEnumerable<string> members = AbiAssertions.Types
            .SelectMany(t => t.GetFields(all).Where(f => f.Name != "value__"), (t, f) => $"{t.Name}.{f.Name}");
        IEnumerable<string> types = AbiAssertions.Types.Where(t => !t.IsClass).Select(t => t.Name);
        HashSet<string> asserted = [.. Header.All.SelectMany(AbiAssertions.Of).Select(a => a.Subject)];
        Assert.Equal<string>([], members.Concat(types).Where(m => !asserted.Contains(m)));
    }

    [Fact]
    public void Every_struct_is_blittable()
    {
        MethodInfo contains = typeof(RuntimeHelpers).GetMethod(nameof(RuntimeHelpers.IsReferenceOrContainsReferences))!;
        Assert.All(AbiAssertions.Types.Where(t => t.IsValueType), t => Assert.False((bool)contains.MakeGenericMethod(t).Invoke(null, null)!));
    }

    [Theory]
    [MemberData(nameof(Headers))]
    public void Every_constant_of_the_header_is_here_or_left_out_for_a_reason(string name)
    {
        Header header = Header.All.Single(h => h.Name == name);
        HashSet<string> known = [.. AbiAssertions.Types
            .Where(t => !t.IsValueType || t.IsEnum)
            .Where(t => AbiAssertions.JudgesOf(t).Contains(header))
            .SelectMany(t => t.GetFields(BindingFlags.Public | BindingFlags.Static))
            .Select(f => f.Name)];
        Assert.NotEmpty(header.Macros);
        Assert.Equal<string>([], header.Macros.Concat(header.EnumConstants).Where(c => !known.Contains(c) && !Exclusions.Names.ContainsKey(c)));
    }

    [Theory]
    [MemberData(nameof(Headers))]
    public void Every_struct_and_enum_of_the_header_is_here_or_left_out_for_a_reason(string name)
    {
        Header header = Header.All.Single(h => h.Name == name);
        HashSet<string> known = [.. AbiAssertions.Types.Where(t => t.IsValueType).Select(t => t.Name)];
        Assert.NotEmpty(header.Structs);
        Assert.Equal<string>([], header.Structs.Keys.Concat(header.Enums).Where(t => !known.Contains(t) && !Exclusions.Names.ContainsKey(t)));
    }

    [Theory]
    [MemberData(nameof(Headers))]
    public void Every_member_of_a_struct_is_a_field_or_an_array_that_follows(string name)
    {
        Header header = Header.All.Single(h => h.Name == name);
        foreach (Type type in AbiAssertions.Types.Where(t => header.Structs.ContainsKey(t.Name)))
        {
            HashSet<string> known = [.. type.GetFields().Select(f => f.Name)];
            Assert.Equal<string>([], header.Structs[type.Name]
                .Where(m => !known.Contains(m) && !known.Contains(m + "_offset") && !Exclusions.Members.ContainsKey($"{type.Name}.{m}")));
        }
    }

    [Fact]
    public void No_exclusion_is_stale()
    {
        HashSet<string> declared = [.. Header.All.SelectMany(h => h.Macros.Concat(h.EnumConstants).Concat(h.Structs.Keys))];
        Assert.Equal<string>([], Exclusions.Names.Keys.Where(n => !declared.Contains(n)));
    }
}
