namespace IommuFd.HwSim.Kernel;

/// <summary>The physical PASIDs that are given out: a pool for each requester id, and one for the machine (the PASIDs of CPU instructions).</summary>
/// <remarks>A number of the machine's pool is in no other one. Users never see these numbers.</remarks>
internal sealed class RfcPasids
{
    // Below it the machine's pool does not begin, so that numbers of both kinds are easy to tell apart when looking.
    private const uint FirstOfMachine = 0x8000;

    private readonly HashSet<(IommuGroup Group, uint Pasid)> _taken = [];
    private readonly HashSet<uint> _machine = [];

    /// <summary>A number that is free for a requester id.</summary>
    internal uint Allocate(IommuGroup group)
    {
        uint pasid = 1;
        while (_machine.Contains(pasid) || !_taken.Add((group, pasid)))
        {
            pasid++;
        }

        return pasid;
    }

    /// <summary>Gives a number of a requester id back.</summary>
    internal void Free(IommuGroup group, uint pasid) => _taken.Remove((group, pasid));

    /// <summary>A number that is free for every requester id.</summary>
    internal uint AllocateMachine()
    {
        uint pasid = FirstOfMachine;
        while (_taken.Any(t => t.Pasid == pasid) || !_machine.Add(pasid))
        {
            pasid++;
        }

        return pasid;
    }

    /// <summary>Gives a number of the machine's pool back.</summary>
    internal void FreeMachine(uint pasid) => _machine.Remove(pasid);
}
