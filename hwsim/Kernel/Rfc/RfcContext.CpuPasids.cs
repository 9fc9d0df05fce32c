namespace IommuFd.HwSim.Kernel;

/// <summary>
/// PASIDs of CPU instructions: a VM translates one number to one number for all of its devices, so that the first device to attach it takes one from the machine's
/// pool and later ones share it. The file stands for the VM.
/// </summary>
internal sealed partial class RfcContext
{
    private readonly Dictionary<uint, (uint Pasid, int Users)> _cpuPasids = [];

    /// <summary>The physical number of the user's, with one more user.</summary>
    internal uint GetCpuPasid(uint vpasid)
    {
        (uint pasid, int users) = _cpuPasids.TryGetValue(vpasid, out (uint Pasid, int Users) known) ? known : (Module.Pasids.AllocateMachine(), 0);
        _cpuPasids[vpasid] = (pasid, users + 1);
        return pasid;
    }

    /// <summary>Undoes one <see cref="GetCpuPasid"/>.</summary>
    internal void PutCpuPasid(uint vpasid)
    {
        (uint pasid, int users) = _cpuPasids[vpasid];
        if (users > 1)
        {
            _cpuPasids[vpasid] = (pasid, users - 1);
            return;
        }

        _cpuPasids.Remove(vpasid);
        Module.Pasids.FreeMachine(pasid);
    }
}
