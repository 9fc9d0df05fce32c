using IommuFd;
using IommuFd.Sysfs;
using static IgbDriver.IgbRegisters;

namespace IgbDriver;

/// <summary>A driver for Intel's 82576. It runs unchanged on the simulator, on QEMU's igb and on hardware.</summary>
public sealed class IgbDevice : IgbPort
{
    /// <summary>Opens the controller, which is bound to a VFIO driver, resets it and waits for its link.</summary>
    /// <param name="host">The machine.</param>
    /// <param name="address">The device.</param>
    /// <param name="loopback">What is sent comes back, and does not reach the wire.</param>
    /// <exception cref="IommuFdException">The device cannot be opened, bound or attached.</exception>
    /// <exception cref="TimeoutException">The device does not do what the data sheet says in time.</exception>
    public IgbDevice(IommuHost host, PciAddress address, bool loopback = false)
        : base(host, address)
    {
        try
        {
            // Section 4.5: reset, interrupts off, link, queues, receiver and transmitter, interrupts on.
            Registers.Write32(Control, Registers.Read32(Control) | Reset);
            Thread.Sleep(2);
            Await("reset", () => (Registers.Read32(Control) & Reset) == 0);
            Registers.Write32(InterruptMaskClear, ~0u);
            Registers.Write32(VectorMaskClear, ~0u);
            Registers.Write32(ControlExtended, (Registers.Read32(ControlExtended) & ~LinkModeMask) | DriverLoaded);
            StartLink(loopback);
            Mac = MacOf(Registers.Read32(AddressLow), Registers.Read32(AddressHigh));
            Registers.Write32(Gpie, MultipleMsix | AutoMaskOnMessage);
            Registers.Write32(IvarOther, (Valid | 1) << 8);
            StartQueues(() =>
            {
                Registers.Write32(ReceiveControl, ReceiveEnable | AcceptBroadcast | StripCrc | (loopback ? Loopback : 0));
                Registers.Write32(TransmitControl, TransmitEnable | PadShort);
            });
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>
    /// Frames received and sent, and those for which there was no buffer, since the last call: the device's counters are cleared by reading.
    /// </summary>
    public (uint Received, uint Sent, uint NoBuffer) ReadStatistics() =>
        (Registers.Read32(GoodReceived), Registers.Read32(GoodTransmitted), Registers.Read32(NoBuffer));

    private protected override void Stop()
    {
        Registers.Write32(ReceiveControl, 0);
        Registers.Write32(TransmitControl, 0);
        Registers.Write32(Control, Registers.Read32(Control) | Reset);
        Thread.Sleep(2);
    }

    private void StartLink(bool loopback)
    {
        Registers.Write32(Control, Registers.Read32(Control) | SetLinkUp);
        WritePhy(0, 0x1200); // negotiate
        Await("the link", () => IsLinkUp);
        if (!loopback)
            return;

        // Section 3.5.6.3.1: the PHY loops at 1000 Mb/s, full duplex, and the MAC is told so.
        WritePhy(0, 0x4140);
        Thread.Sleep(50);
        Registers.Write32(Control, (Registers.Read32(Control) & ~SpeedMask) | ForceSpeed | ForceDuplex | Speed1000 | FullDuplex | SetLinkUp);
    }

    private void WritePhy(uint register, ushort value)
    {
        const uint ready = 1u << 28, error = 1u << 30;
        Registers.Write32(Mdic, 1u << 26 | 1u << 21 | register << 16 | value);
        Await("the PHY", () => (Registers.Read32(Mdic) & ready) != 0);
        if ((Registers.Read32(Mdic) & error) != 0)
            throw new IOException($"The PHY refuses to write register {register}.");
    }
}
