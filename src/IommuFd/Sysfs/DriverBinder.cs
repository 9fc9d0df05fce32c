using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>Where a change of drivers failed.</summary>
public enum DriverFailureStage
{
    /// <summary>The journal could not be opened: nothing was written.</summary>
    Journal,

    /// <summary>A write was refused, or did not return.</summary>
    Write,

    /// <summary>Every write succeeded and the function was nevertheless not where it should be.</summary>
    Verify,
}

/// <summary>Why a change of drivers did not come about.</summary>
/// <param name="Address">The function at which it failed.</param>
/// <param name="Stage">Where.</param>
/// <param name="Write">The write that failed; default for the other stages.</param>
/// <param name="Errno">The error number, positive; <see cref="Native.Errno.ETIMEDOUT"/> for a write that did not return, 0 for
/// <see cref="DriverFailureStage.Verify"/>.</param>
/// <param name="Found">Driver and override as found when it failed.</param>
/// <param name="NotRestored">Functions that could not be put back; empty when the machine is as it was.</param>
public sealed record DriverFailure(
    PciAddress Address, DriverFailureStage Stage, SysfsWrite Write, int Errno, OriginalBinding Found, IReadOnlyList<PciAddress> NotRestored);

/// <summary>
/// Changes the drivers of several functions as one transaction: all or none. Only <c>driver_override</c> is used, never <c>new_id</c>, which would
/// also take every other device of the same model.
/// </summary>
public sealed class DriverBinder
{
    private readonly ISysfs _sysfs;
    private readonly IBindingStore _store;
    private readonly Func<SysfsWrite, int> _write;

    /// <summary>Makes a binder.</summary>
    /// <param name="sysfs">The host's files.</param>
    /// <param name="store">Where the state before a change is kept.</param>
    /// <param name="write">
    /// Does one write and returns 0 or -errno; null is <see cref="ISysfs.WriteText"/>. A caller that must not wait for a driver that never returns
    /// from unbind gives a write with a timeout, which answers -ETIMEDOUT.
    /// </param>
    public DriverBinder(ISysfs sysfs, IBindingStore store, Func<SysfsWrite, int>? write = null)
    {
        _sysfs = sysfs;
        _store = store;
        _write = write ?? (step => sysfs.WriteText(step.Path, step.Text));
    }

    /// <summary>Plans giving functions to <paramref name="driver"/>.</summary>
    public IReadOnlyList<DriverPlan> PlanBind(IEnumerable<PciAddress> functions, string driver) =>
        [.. functions.Select(address => DriverPlan.Now(_sysfs, address).Driver == driver
            ? DriverPlan.Make(_sysfs, address, driver, DriverPlan.Now(_sysfs, address).Override)
            : DriverPlan.Make(_sysfs, address, driver, driver))];

    /// <summary>
    /// Plans giving functions back to the drivers they had; where nothing is remembered the kernel chooses. An override that was there before stays
    /// only when it names that driver: one for VFIO would keep the host's driver away.
    /// </summary>
    public IReadOnlyList<DriverPlan> PlanReturn(IEnumerable<PciAddress> functions) =>
        [.. functions.Select(address => _store.Recall(address) is { } original
            ? DriverPlan.Make(_sysfs, address, original.Driver, original.Override == original.Driver ? original.Override : null)
            : DriverPlan.MakeProbe(_sysfs, address))];

    /// <summary>
    /// Carries plans out, verifies every function, and on any failure puts all of them back. The state before is in the store's journal from before
    /// the first write until after the last.
    /// </summary>
    /// <returns>Null when all is done; else what failed.</returns>
    public DriverFailure? Apply(IReadOnlyList<DriverPlan> plans)
    {
        List<DriverPlan> changing = [.. plans.Where(static plan => plan.Writes.Count > 0)];
        if (changing.Count == 0)
        {
            return null;
        }

        // The journal of a command that was killed must not be written over before it is undone.
        int begun = _store.Unfinished().Count > 0 ? -Errno.EALREADY : _store.Begin([.. changing.Select(static plan => plan.Before)]);
        if (begun < 0)
        {
            return new DriverFailure(changing[0].Address, DriverFailureStage.Journal, default, -begun, changing[0].Before, []);
        }

        foreach (DriverPlan plan in changing)
        {
            if (CarryOut(plan) is { } failure)
            {
                return failure with { NotRestored = failure.Errno == Errno.ETIMEDOUT
                    ? Abandon(plan, changing)
                    : Restore([.. changing.Select(static each => each.Before)]) };
            }
        }

        // A death in between must find what is needed: the journal is closed when all is remembered, and only then is anything forgotten.
        foreach (DriverPlan plan in changing.Where(plan => DriverClaim.IsVfio(plan.Driver)
            && (!DriverClaim.IsVfio(plan.Before.Driver) || _store.Recall(plan.Address) is null)))
        {
            _store.Remember(plan.Before);
        }

        _store.Commit();
        foreach (DriverPlan plan in changing.Where(static plan => !DriverClaim.IsVfio(plan.Driver)))
        {
            _store.Forget(plan.Address);
        }

        return null;
    }

    /// <summary>Undoes the transaction of a process that died in it.</summary>
    /// <param name="restored">The functions that were put back.</param>
    /// <param name="notRestored">The functions that could not be.</param>
    public void Recover(out IReadOnlyList<PciAddress> restored, out IReadOnlyList<PciAddress> notRestored)
    {
        restored = notRestored = [];
        IReadOnlyList<OriginalBinding> unfinished = _store.Unfinished();
        if (unfinished.Count == 0)
        {
            return;
        }

        int begun = _store.Begin(unfinished);
        List<PciAddress> failed = begun < 0 ? [.. unfinished.Select(static before => before.Address)] : Restore(unfinished);
        notRestored = failed;
        restored = [.. unfinished.Select(static before => before.Address).Where(address => !failed.Contains(address))];
    }

    private DriverFailure? CarryOut(DriverPlan plan)
    {
        foreach (SysfsWrite step in plan.Writes)
        {
            int result = _write(step);
            if (result < 0)
            {
                return new DriverFailure(plan.Address, DriverFailureStage.Write, step, -result, DriverPlan.Now(_sysfs, plan.Address), []);
            }
        }

        OriginalBinding now = DriverPlan.Now(_sysfs, plan.Address);
        return plan.IsReached(now) ? null : new DriverFailure(plan.Address, DriverFailureStage.Verify, default, 0, now, []);
    }

    // Puts functions back, last changed first, and closes the transaction when all of them are: else it stays, and a later Recover tries again.
    private List<PciAddress> Restore(IReadOnlyList<OriginalBinding> before)
    {
        List<PciAddress> failed = [];
        foreach (OriginalBinding state in before.Reverse())
        {
            // A function that was unplugged meanwhile has no state to return to.
            if (_sysfs.Exists(PciBus.DevicePath(state.Address))
                && CarryOut(DriverPlan.Make(_sysfs, state.Address, state.Driver, state.Override)) is not null)
            {
                failed.Add(state.Address);
            }
        }

        if (failed.Count == 0)
        {
            _store.Commit();
        }

        return failed;
    }

    // A driver that has not let go holds the function's lock: any further bind or unbind would wait behind it. The function is left alone, what it
    // had is remembered, and the others are put back.
    private List<PciAddress> Abandon(DriverPlan stuck, List<DriverPlan> changing)
    {
        if (_store.Recall(stuck.Address) is null)
        {
            _store.Remember(stuck.Before);
        }

        List<PciAddress> failed = Restore([.. changing.Select(static each => each.Before).Where(before => before.Address != stuck.Address)]);
        failed.Add(stuck.Address);
        _store.Commit();
        return failed;
    }
}
