namespace IommuFd.HwSim.Units;

/// <summary>
/// Where memory writes end that are interrupts: those of devices (remapped by the unit if it does that) and those of the unit itself.
/// </summary>
public interface IInterruptController
{
    /// <summary>A message arrived.</summary>
    /// <param name="requesterId">Who sent it: a device, or the unit for its own events.</param>
    /// <param name="address">Message address.</param>
    /// <param name="data">Message data.</param>
    void Message(ushort requesterId, ulong address, uint data);
}
