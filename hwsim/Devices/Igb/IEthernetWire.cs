namespace IommuFd.HwSim.Devices.Igb;

/// <summary>What a controller's cable leads to.</summary>
public unsafe interface IEthernetWire
{
    /// <summary>A frame leaves the controller.</summary>
    /// <param name="frame">Destination address first, without FCS; valid during the call.</param>
    /// <param name="length">Bytes.</param>
    void Send(byte* frame, int length);
}
