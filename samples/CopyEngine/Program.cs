using System.Diagnostics;
using System.Globalization;
using CopyEngine;
using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;

// copy-engine BDF [BYTES]: copies random memory and compares. With VFIO_HOST=sim the machine is intel-scalable, whose engine is 0000:00:09.0.
if (args.Length is 0 or > 2 || args[0] is "-h" or "--help")
{
    Console.Error.WriteLine(
        "copy-engine BDF [BYTES]   copies BYTES (64 MiB) of random memory with every channel and compares; BDF must be on a VFIO driver");
    return args.Length is 1 ? 0 : 2;
}

try
{
    PciAddress address = PciAddress.Parse(args[0]);
    ulong length = args.Length > 1 ? ulong.Parse(args[1], CultureInfo.InvariantCulture) : 64 << 20;
    bool simulated = Environment.GetEnvironmentVariable(HostSelection.Variable) == "sim";
    using IommuHost host = IommuHost.Open(simulated ? HostSelection.Simulator with { Topology = "intel-scalable" } : null);
    if (host.Kind == HostKind.Simulator)
    {
        DriverBinder binder = new(host.Sysfs, new MemoryBindingStore());
        _ = binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci));
    }

    using CopyEngineDevice device = new(host, address);
    Mapping source = device.AllocateMemory(length), destination = device.AllocateMemory(length);
    new Random(1).NextBytes(source.Buffer.Span);
    foreach (CopyChannel channel in device.Channels)
    {
        destination.Buffer.Span.Clear();
        long start = Stopwatch.GetTimestamp();
        channel.Copy(source.Iova, destination.Iova, length);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        bool same = source.Buffer.Span[..(int)length].SequenceEqual(destination.Buffer.Span[..(int)length]);
        Console.WriteLine(
            string.Create(
            CultureInfo.InvariantCulture,
            $"channel {channel.Number}: {length / seconds / (1 << 20):0} MiB/s, {(same ? "as it was" : "NOT THE SAME")}"));
        if (!same)
            return 1;
    }

    return 0;
}
catch (Exception failure) when (failure is IommuFdException or IOException or FormatException or ArgumentException or TimeoutException)
{
    Console.Error.WriteLine(failure.Message);
    return 1;
}
