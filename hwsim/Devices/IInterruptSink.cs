namespace IommuFd.HwSim.Devices;

/// <summary>Where a device's interrupts go: the simulated kernel, or a test.</summary>
/// <remarks>Called while the device holds its lock: do not call back into the device from here.</remarks>
public interface IInterruptSink
{
    /// <summary>The device sent an MSI or MSI-X message.</summary>
    /// <param name="device">Who.</param>
    /// <param name="vector">Vector number, from 0.</param>
    /// <param name="address">Message address as software programmed it.</param>
    /// <param name="data">Message data, the vector number already in it for multi-message MSI.</param>
    void Message(PciDevice device, int vector, ulong address, uint data);

    /// <summary>The device's INTx line changed.</summary>
    /// <param name="device">Who.</param>
    /// <param name="asserted">True when asserted.</param>
    void Line(PciDevice device, bool asserted);
}
