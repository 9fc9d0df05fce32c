namespace IommuFd.HwSim.Kernel;

/// <summary>The instruction ENQCMD: what the processor does with the PASID, and the portal of the device that the descriptor goes to.</summary>
internal static unsafe class RfcEnqcmd
{
    /// <summary>Executes it.</summary>
    public static EnqcmdResult Execute(RfcModule module, int vm, int device, uint pasid, ulong iova, ulong data)
    {
        SimulatedFile? guest = module.Vfio.Process.GetFile(vm), file = module.Vfio.Process.GetFile(device);
        EnqcmdResult result = EnqcmdResult.Fault;
        if (file is RfcDeviceFile { Device: { } target } && (vm < 0 || guest is RfcVm))
        {
            uint? sent;
            lock (module.Lock)
            {
                sent = guest is RfcVm { } running ? running.Translate(pasid) : pasid;
            }

            result = sent is { } number ? Send(target, number, iova, data) : EnqcmdResult.Fault;
        }

        guest?.Put();
        file?.Put();
        return result;
    }

    private static EnqcmdResult Send(VfioDevice device, uint pasid, ulong iova, ulong data)
    {
        switch (device)
        {
            case RfcMdev { PasidType: RfcPasidType.MediatedEnqcmd } mdev:
                return mdev.Submit(pasid, iova, data) ? EnqcmdResult.Accepted : EnqcmdResult.Retry;
            case VfioPciDevice pci when RfcPasidPolicy.Of(pci).IsForCpu:
                // The whole device is the user's: its portal needs no gate.
                _ = pci.Function.Hardware.Unit!.Write(pci.Iommu.RequesterId, pasid, iova, &data, sizeof(ulong));
                return EnqcmdResult.Accepted;
            default:
                return EnqcmdResult.Fault;
        }
    }
}
