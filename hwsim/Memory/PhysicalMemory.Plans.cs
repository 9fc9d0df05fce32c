using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim;

public sealed unsafe partial class PhysicalMemory
{
    private const int MostPlans = 256;

    // A handful: one for each configuration of tables that is in use. Replaced as a whole; readers take no lock.
    private WalkPlan[] _plans = [];

    /// <summary>How tables of this configuration are walked.</summary>
    internal WalkPlan PlanOf<TFormat>(in PageTableGeometry geometry, WalkAccess rules, TablePlace place)
        where TFormat : struct, IPageTableFormat
    {
        foreach (var plan in Volatile.Read(ref _plans))
        {
            if (plan.IsFor<TFormat>(geometry, rules, place))
                return plan;
        }

        lock (_gate)
        {
            var made = WalkPlan.Make<TFormat>(this, geometry, rules, place);
            Volatile.Write(ref _plans, _plans.Length < MostPlans ? [.. _plans, made] : [made]);
            return made;
        }
    }
}
