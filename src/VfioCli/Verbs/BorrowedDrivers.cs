using IommuFd.Sysfs;
using VfioCli.Diagnosis;
using VfioCli.Hosts;

namespace VfioCli.Verbs;

/// <summary>
/// Functions on a VFIO driver for the time of one command. A function without a driver is taken without asking: nobody loses it. A function of a host
/// driver is taken only when asked for. Disposing gives every taken function back.
/// </summary>
internal sealed class BorrowedDrivers : IDisposable
{
    private readonly Session _session;
    private readonly DriverBinder _binder;
    private readonly SysfsWriter _writer;

    private BorrowedDrivers(Session session, DriverBinder binder, SysfsWriter writer, IReadOnlyList<DriverPlan> taken)
    {
        _session = session;
        _binder = binder;
        _writer = writer;
        Taken = taken;
    }

    /// <summary>What was taken.</summary>
    public IReadOnlyList<DriverPlan> Taken { get; }

    /// <summary>Takes what is not on a VFIO driver yet.</summary>
    /// <param name="session">The host.</param>
    /// <param name="functions">The functions that are needed.</param>
    /// <param name="fromHostDrivers">Whether host drivers may be asked to let go.</param>
    /// <exception cref="CommandFailure">A function is on a host driver, or cannot be taken; nothing was changed.</exception>
    public static BorrowedDrivers Take(Session session, IReadOnlyList<PciFunction> functions, bool fromHostDrivers)
    {
        PciFunction[] needed = [.. functions.Where(static function => !DriverClaim.IsVfio(function.Driver))];
        foreach (PciFunction function in needed)
        {
            BindRules.Check(session, function, DriverClaim.VfioPci);
        }

        if (!fromHostDrivers && needed.FirstOrDefault(static function => function.Driver is not null) is { } held)
        {
            throw new CommandFailure(
                ExitCode.Busy,
                $"{held.Address} belongs to driver {held.Driver}.",
                $"`vfio bind {held.Address}` gives it to vfio-pci; --bind does so for the time of this command.")
            {
                Evidence = [$"{held.Path}/driver={held.Driver}"],
            };
        }

        TakeRules.Check(session, needed);
        SysfsWriter writer = new(session.Host, TimeSpan.FromSeconds(10), session.Terminal.Remark);
        DriverBinder binder = new(session.Sysfs, session.Store, writer.Write);
        IReadOnlyList<DriverPlan> plans = binder.PlanBind(needed.Select(static function => function.Address), DriverClaim.VfioPci);
        return binder.Apply(plans) is { } failure
            ? throw BindText.Describe(session, failure, writer.TimeoutText)
            : new BorrowedDrivers(session, binder, writer, plans);
    }

    /// <summary>Gives back what was taken.</summary>
    public void Dispose()
    {
        if (Taken.Count > 0 && _binder.Apply(_binder.PlanReturn(Taken.Select(static plan => plan.Address))) is { } failure)
        {
            _session.Terminal.Remark(BindText.Describe(_session, failure, _writer.TimeoutText).Message);
        }
    }
}
