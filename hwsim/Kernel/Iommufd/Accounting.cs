namespace IommuFd.HwSim.Kernel;

/// <summary>Charges locked memory against RLIMIT_MEMLOCK (iopt_pages_update_pinned).</summary>
internal static class Accounting
{
    internal static bool TryCharge(SimulatedProcess process, AccountMode mode, ulong pages) =>
        mode switch
        {
            AccountMode.User => process.User.LockedPages.TryAdd(pages, process.MemlockLimit / IoptPages.PageSize),
            AccountMode.Process => process.LockedPages.TryAdd(pages, process.MemlockLimit / IoptPages.PageSize),
            _ => true,
        };

    internal static void Uncharge(SimulatedProcess process, AccountMode mode, ulong pages)
    {
        if (mode == AccountMode.User)
        {
            process.User.LockedPages.Subtract(pages);
        }
        else if (mode == AccountMode.Process)
        {
            process.LockedPages.Subtract(pages);
        }
    }
}
