namespace IommuFd.HwSim.Kernel;

/// <summary>How the instruction ENQCMD ends.</summary>
public enum EnqcmdResult
{
    /// <summary>The device took the descriptor (ZF = 0).</summary>
    Accepted,

    /// <summary>The device takes none now (ZF = 1): its portal is blocked.</summary>
    Retry,

    /// <summary>The processor did not send it: the PASID is not translated, or the device has no portal.</summary>
    Fault,
}
