using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>One write(2) to one attribute.</summary>
/// <param name="Path">The attribute.</param>
/// <param name="Text">What is written.</param>
public readonly record struct SysfsWrite(string Path, string Text)
{
    /// <summary>The write as a shell command.</summary>
    public override string ToString() => Text == "\n" ? $"echo > {Path}" : $"echo {Text} > {Path}";
}

/// <summary>The writes that take one function from the driver it has to another, or to none.</summary>
/// <param name="Before">The state that the writes start from, and that a rollback returns to.</param>
/// <param name="Driver">The driver at the end, or null for none.</param>
/// <param name="Override">The <c>driver_override</c> at the end, or null for none.</param>
/// <param name="Writes">The writes, in order; none when the function is where it should be.</param>
public sealed record DriverPlan(OriginalBinding Before, string? Driver, string? Override, IReadOnlyList<SysfsWrite> Writes)
{
    /// <summary>The function.</summary>
    public PciAddress Address => Before.Address;

    /// <summary>
    /// Plans the way to <paramref name="driver"/> from where the function is now. The override comes first: once it is written no other driver can
    /// take the function in the moment in which it has none. Nothing is written.
    /// </summary>
    /// <param name="sysfs">The host's files.</param>
    /// <param name="address">The function.</param>
    /// <param name="driver">The wanted driver, or null for none.</param>
    /// <param name="driverOverride">The wanted <c>driver_override</c>, or null for none.</param>
    public static DriverPlan Make(ISysfs sysfs, PciAddress address, string? driver, string? driverOverride)
    {
        OriginalBinding now = Now(sysfs, address);
        string device = PciBus.DevicePath(address);
        List<SysfsWrite> writes = [];

        // A driver binds against the override of another one only while that is away: udev may have set it while the host's driver was bound.
        bool against = now.Driver != driver && driver is not null && driverOverride is not null && driverOverride != driver;
        string? first = against ? null : driverOverride;
        if (now.Override != first)
        {
            writes.Add(Override(first));
        }

        if (now.Driver != driver)
        {
            if (now.Driver is not null)
            {
                writes.Add(new SysfsWrite(device + "/driver/unbind", address.ToString()));
            }

            if (driver is not null)
            {
                // Not drivers_probe: that succeeds whether or not a driver was bound, and hides why.
                writes.Add(new SysfsWrite($"{PciBus.Drivers}/{driver}/bind", address.ToString()));
            }
        }

        if (against)
        {
            writes.Add(Override(driverOverride));
        }

        return new DriverPlan(now, driver, driverOverride, writes);

        // Never the empty string: a write of no bytes does nothing, and the stale override then keeps the host's driver away.
        SysfsWrite Override(string? text) => new(device + "/driver_override", text ?? "\n");
    }

    /// <summary>Plans letting the kernel choose the driver: no override, and a probe. Any driver but a VFIO one, or none, is then right.</summary>
    public static DriverPlan MakeProbe(ISysfs sysfs, PciAddress address)
    {
        DriverPlan plan = Make(sysfs, address, null, null);
        return plan.Before.Driver is not null && !DriverClaim.IsVfio(plan.Before.Driver)
            ? plan with { Driver = plan.Before.Driver, Writes = [.. plan.Writes.Where(static write => write.Text == "\n")] }
            : plan with { Probes = true, Writes = [.. plan.Writes, new SysfsWrite("/sys/bus/pci/drivers_probe", address.ToString())] };
    }

    /// <summary>Whether the kernel chooses the driver.</summary>
    public bool Probes { get; init; }

    /// <summary>Whether <paramref name="now"/> is where the plan leads to.</summary>
    public bool IsReached(OriginalBinding now) => now.Override == Override && (Probes ? !DriverClaim.IsVfio(now.Driver) : now.Driver == Driver);

    /// <summary>The driver and override that a function has now.</summary>
    public static OriginalBinding Now(ISysfs sysfs, PciAddress address)
    {
        string device = PciBus.DevicePath(address);
        string? driverOverride = sysfs.Attribute(device + "/driver_override");
        return new OriginalBinding(address, sysfs.LinkName(device + "/driver"), driverOverride is null or "" or "(null)" ? null : driverOverride);
    }
}
