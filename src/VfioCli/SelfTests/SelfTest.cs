using IommuFd;
using IommuFd.Sysfs;

namespace VfioCli.SelfTests;

/// <summary>One thing that a self-test showed.</summary>
/// <param name="Name">What was tried.</param>
/// <param name="Passed">Whether it went as it must.</param>
/// <param name="Detail">What was seen.</param>
internal sealed record SelfTestStep(string Name, bool Passed, string Detail);

/// <summary>The devices that have a self-test.</summary>
internal static class SelfTest
{
    /// <summary>The self-test for a function by its ids, with the device's name; null when there is none.</summary>
    public static (string Device, Func<BoundDevice, IoAddressSpace, IReadOnlyList<SelfTestStep>> Run)? Find(PciFunction function) =>
        (function.Vendor, function.Device) switch
        {
            (0x1234, 0x11e8) => ("edu", EduSelfTest.Run),
            _ => null,
        };

    /// <summary>What there are self-tests for, for the complaint about another device.</summary>
    public const string Known = "1234:11e8 (QEMU's edu)";
}
