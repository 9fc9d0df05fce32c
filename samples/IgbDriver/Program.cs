using System.Diagnostics;
using System.Globalization;
using IgbDriver;
using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;

// igb-ping [BDF] [FRAMES] [poll|interrupt]: sends frames to itself through the controller's loopback, one at a time. VFIO_HOST=sim|kernel chooses the
// world.
try
{
    PciAddress address = PciAddress.Parse(args.Length > 0 ? args[0] : "0000:01:00.0");
    int count = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 1000;
    bool polls = args.Length <= 2 || args[2] == "poll";
    using IommuHost host = IommuHost.Open();
    if (host.Kind == HostKind.Simulator)
    {
        DriverBinder binder = new(host.Sysfs, new MemoryBindingStore());
        _ = binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci));
    }

    using IgbDevice device = new(host, address, loopback: true);
    byte[] sent = new byte[64], received = new byte[IgbDevice.LargestFrame];
    device.Mac.GetAddressBytes().CopyTo(sent, 0);
    device.Mac.GetAddressBytes().CopyTo(sent, 6);
    (sent[12], sent[13]) = (0x88, 0xb5); // a type for local experiments (IEEE 802)
    long start = Stopwatch.GetTimestamp();
    for (int i = 0; i < count; i++)
    {
        BitConverter.TryWriteBytes(sent.AsSpan(14), i);
        device.Send(sent);
        int length = 0;
        if (!polls)
            length = await device.ReceiveAsync(received);
        for (long end = Environment.TickCount64 + 1000; length == 0 && Environment.TickCount64 < end;)
            length = device.TryReceive(received);
        if (length == 0 || BitConverter.ToInt32(received, 14) != i)
            throw new IOException($"Frame {i} did not come back.");
    }

    Console.WriteLine(
        $"{Convert.ToHexString(device.Mac.GetAddressBytes())}: {count} frames went round, "
        + $"{Stopwatch.GetElapsedTime(start).TotalMicroseconds / count:0.0} us each");
    return 0;
}
catch (Exception failure) when (failure is IommuFdException or IOException or FormatException or ArgumentException or TimeoutException)
{
    Console.Error.WriteLine(failure.Message);
    return 1;
}
