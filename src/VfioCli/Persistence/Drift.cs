using IommuFd.Sysfs;

namespace VfioCli.Persistence;

/// <summary>How a persistent function differs from what was asked for.</summary>
internal enum DriftKind
{
    /// <summary>It is where it should be, on the driver that it should have.</summary>
    None,

    /// <summary>It is there, on another driver.</summary>
    Driver,

    /// <summary>The same device is at another address.</summary>
    Moved,

    /// <summary>Another device is at the address.</summary>
    Replaced,

    /// <summary>Nothing is at the address, and the device is nowhere else.</summary>
    Gone,
}

/// <summary>A persistent function as it is found.</summary>
/// <param name="Wanted">What was asked for.</param>
/// <param name="Kind">How it differs.</param>
/// <param name="Found">Where the device is now, when it is anywhere.</param>
internal sealed record Drift(PersistentDevice Wanted, DriftKind Kind, PciFunction? Found)
{
    /// <summary>As a sentence.</summary>
    public string Text => Kind switch
    {
        DriftKind.None => $"{Wanted.Address}: on {Wanted.Driver}, as wanted",
        DriftKind.Driver => $"{Wanted.Address}: on {Found?.Driver ?? "no driver"}, wanted on {Wanted.Driver}; `vfio persist --apply` binds it",
        DriftKind.Moved =>
            $"{Wanted.Address}: the device {Wanted.Vendor:x4}:{Wanted.Device:x4} is now at {Found!.Address}; `vfio forget {Wanted.Address}` and"
                + $" `vfio persist {Found.Address}`",
        DriftKind.Replaced =>
            $"{Wanted.Address}: another device is there ({Found!.Vendor:x4}:{Found.Device:x4}, wanted {Wanted.Vendor:x4}:{Wanted.Device:x4}); it is"
                + " not touched",
        _ => $"{Wanted.Address}: nothing is there; `vfio forget {Wanted.Address}` if it is gone for good",
    };

    /// <summary>Compares what was asked for with what is there.</summary>
    public static IReadOnlyList<Drift> Find(Session session, IEnumerable<PersistentDevice> wanted)
    {
        _ = session.Bus.List(out PciFunction[] functions);
        return [.. wanted.Select(device =>
        {
            PciFunction? there = functions.FirstOrDefault(function => function.Address == device.Address);
            if (there is not null && device.IsSameAs(PersistentDevice.Of(session.Sysfs, there, device.Driver)))
            {
                return new Drift(device, there.Driver == device.Driver ? DriftKind.None : DriftKind.Driver, there);
            }

            // Only a device that is not itself wanted at its place can have moved there.
            PciFunction? elsewhere = functions.FirstOrDefault(function => wanted.All(other => other.Address != function.Address)
                && device.IsSameAs(PersistentDevice.Of(session.Sysfs, function, device.Driver)));
            return elsewhere is not null ? new Drift(device, DriftKind.Moved, elsewhere)
                : there is not null ? new Drift(device, DriftKind.Replaced, there) : new Drift(device, DriftKind.Gone, null);
        })];
    }
}
