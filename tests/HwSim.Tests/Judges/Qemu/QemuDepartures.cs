namespace HwSim.Tests.Judges.Qemu;

/// <summary>
/// Where QEMU 10.0.2's models were seen to depart from the specifications, in one place. A difference with a name here is QEMU's, is counted in the report,
/// and is no failure; everything else is a difference that has to be explained.
/// </summary>
public static class QemuDepartures
{
}
