using System.Security.Cryptography;
using System.Text;
using Xunit;

namespace Conformance.Iommu;

/// <summary>
/// Random sequences of commands. CONFORMANCE_RANDOM=seed:calls:file writes the text of one sequence to a file, so that two hosts can be compared call
/// by call; without it the sequences below must have the text that Linux 7.3 has, known by its hash.
/// </summary>
public sealed class RandomTests
{
    private const int Calls = 1500;

    public static bool HasRequest => Request != null;

    private static string? Request => Environment.GetEnvironmentVariable("CONFORMANCE_RANDOM");

    [Theory]
    [InlineData(1, "16779A5F34270700")]
    [InlineData(2, "0A308F34732AC76C")]
    [InlineData(3, "29A5B862221EC7B0")]
    [InlineData(4, "6A9FEF246C2084CF")]
    public void A_sequence_has_the_results_of_Linux(ulong seed, string hash)
    {
        using var sequence = new RandomSequence(seed);
        sequence.Run(Calls);
        Assert.Equal(hash, Hash(sequence.Trace));
    }

    [Fact(Skip = "CONFORMANCE_RANDOM names no sequence", SkipUnless = nameof(HasRequest))]
    public void The_requested_sequence_is_written()
    {
        string[] request = Request!.Split(':', 3);
        using var file = new StreamWriter(request[2]);
        ulong seed = ulong.Parse(request[0], System.Globalization.CultureInfo.InvariantCulture);

        // A new context every so often: later calls would find every id taken.
        for (int left = int.Parse(request[1], System.Globalization.CultureInfo.InvariantCulture); left > 0; left -= Calls, seed++)
        {
            using var sequence = new RandomSequence(seed);
            sequence.Run(Math.Min(left, Calls));
            file.Write($"seed {seed}\n{sequence.Trace}");
        }
    }

    private static string Hash(string text) => Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..16];
}
