namespace IommuFd.HwSim.Kernel;

/// <summary>
/// PASIDs of CPU instructions: a VM translates one number to one number for all of its devices, so that the first device to attach it takes one from
/// the machine's pool and later ones share it. The file stands for the VM.
/// </summary>
internal sealed partial class RfcContext
{
    private readonly Dictionary<uint, (uint Pasid, int Users)> _cpuPasids = [];

    /// <summary>The VM that translates numbers of this file; null while none does, and while portals are blocked.</summary>
    internal RfcVm? Translator { get; set; }

    /// <summary>The physical number behind the user's, when a device whose numbers the processor translates has it on a space; null else.</summary>
    internal uint? FindCpuPasid(int ioasid, uint vpasid) => FindIoasid(ioasid) is { } space
        ? _devices.Values.Where(static d => d.Pasids.IsTranslatedByCpu).Select(d => d.SlotOf(space, vpasid))
            .FirstOrDefault(static s => s is not null)?.Pasid
        : null;

    /// <summary>True when a device of the other kind has PASIDs here: one VM cannot translate for one and not for the other.</summary>
    internal bool HasCpuPasidsUnlike(RfcPasidPolicy policy) =>
        policy.IsForCpu && _devices.Values.Any(d => d.Pasids.IsForCpu && d.Pasids.IsTranslatedByCpu != policy.IsTranslatedByCpu && d.HasPasidSpaces);

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
