using System.Globalization;
using EduDriver;
using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;

// edu [BDF] [N] [iommufd|container]: computes N! on the educational device and moves bytes out and back. VFIO_HOST=sim|kernel chooses the world.
try
{
    PciAddress address = PciAddress.Parse(args.Length > 0 ? args[0] : "0000:00:04.0");
    uint n = args.Length > 1 ? uint.Parse(args[1], CultureInfo.InvariantCulture) : 12;
    using IommuHost host = IommuHost.Open();
    Console.Error.WriteLine($"{host.Description}: {host.Reason}");
    if (host.Kind == HostKind.Simulator)
    {
        // A simulated machine is born with the host's drivers on its devices; on a real one 'vfio bind' has been run before.
        DriverBinder binder = new(host.Sysfs, new MemoryBindingStore());
        _ = binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci));
    }

    ContextKind? kind = args.Length > 2 ? Enum.Parse<ContextKind>(args[2], ignoreCase: true) : null;
    using EduDevice device = new(host, address, kind);
    Console.WriteLine($"context: {device.Space.Context.Kind}");
    Console.WriteLine($"edu {device.Version.Major}.{device.Version.Minor} at {address}, alive: {device.IsAlive()}");
    Console.WriteLine($"{n}! = {await device.FactorialAsync(n)} (modulo 2^32)");

    "bytes through the IOMMU"u8.CopyTo(device.Buffer.Span);
    await device.ReadMemoryAsync(device.BufferIova, 64);
    await device.WriteMemoryAsync(device.BufferIova + 2048, 64);
    Console.WriteLine(System.Text.Encoding.UTF8.GetString(device.Buffer.Slice(2048, 23)));
    return 0;
}
catch (Exception failure) when (failure is IommuFdException or FormatException or ArgumentException or InvalidDataException)
{
    Console.Error.WriteLine(failure.Message);
    return 1;
}
