using System.Globalization;
using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;
using NvmeDriver;

// nvme-cat [BDF] [BLOCK] [BYTES]: writes blocks of the first namespace to standard output. VFIO_HOST=sim|kernel chooses the world.
try
{
    PciAddress address = PciAddress.Parse(args.Length > 0 ? args[0] : "0000:00:05.0");
    ulong block = args.Length > 1 ? ulong.Parse(args[1], CultureInfo.InvariantCulture) : 0;
    int length = args.Length > 2 ? int.Parse(args[2], CultureInfo.InvariantCulture) : 512;
    using IommuHost host = IommuHost.Open();
    if (host.Kind == HostKind.Simulator)
    {
        DriverBinder binder = new(host.Sysfs, new MemoryBindingStore());
        _ = binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci));
    }

    using NvmeDevice device = new(host, address);
    Console.Error.WriteLine($"{device.Model} ({device.Serial}): {device.Blocks} blocks of {device.BlockSize} bytes");
    await device.ReadAsync(block, length);
    using Stream output = Console.OpenStandardOutput();
    output.Write(device.Buffer.Slice(0, length));
    return 0;
}
catch (Exception failure) when (failure is IommuFdException or IOException or FormatException or ArgumentException or TimeoutException)
{
    Console.Error.WriteLine(failure.Message);
    return 1;
}
