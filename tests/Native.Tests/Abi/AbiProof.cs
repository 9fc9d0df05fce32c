using Xunit;

namespace Native.Tests.Abi;

/// <summary>Every number of <c>IommuFd.Native.Uapi</c>, judged by the C compiler on the headers.</summary>
public sealed class AbiProof
{
    public static TheoryData<string> Headers => [.. Header.All.Select(h => h.Name)];

    [Theory]
    [MemberData(nameof(Headers))]
    public void Every_constant_size_and_offset_is_the_one_of_the_header(string name)
    {
        Assert.SkipUnless(CCompiler.IsThere, CCompiler.Missing);
        Header header = Header.All.Single(h => h.Name == name);
        List<AbiAssertion> assertions = [.. AbiAssertions.Of(header)];
        Assert.NotEmpty(assertions);
        string complaints = CCompiler.Complaints(AbiAssertions.Source(header, assertions));
        Assert.True(complaints.Length == 0, complaints);
    }

    [Theory]
    [InlineData("sizeof(struct iommu_ioas_map) == 48")]
    [InlineData("__builtin_offsetof(struct iommu_ioas_map, iova) == 24")]
    [InlineData("__builtin_strcmp(\"vfio\", \"vfi0\") == 0")]
    public void A_wrong_assertion_is_refused(string condition)
    {
        Assert.SkipUnless(CCompiler.IsThere, CCompiler.Missing);
        string complaints = CCompiler.Complaints(AbiAssertions.Source(Header.Iommufd, [new("wrong", condition)]));
        Assert.Contains("static assertion failed", complaints, StringComparison.Ordinal);
    }
}
