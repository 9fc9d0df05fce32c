using Guide;
using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;

// The chapters of docs/guide.md, on the edu device 0000:00:04.0. VFIO_HOST=sim|kernel chooses the world.
try
{
    using IommuHost host = IommuHost.Open();                                  // the kernel, or the simulator; host.Reason says why
    Console.Error.WriteLine($"{host.Description}: {host.Reason}");
    PciAddress address = PciAddress.Parse("0000:00:04.0");
    if (host.Kind == HostKind.Simulator)
    {
        DriverBinder binder = new(host.Sysfs, new MemoryBindingStore());      // what `vfio bind 0000:00:04.0` does on a host
        _ = binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci));
    }

    Console.WriteLine(TwentyLines.Run(host));
    using IommuContext context = host.OpenContext();
    using BoundDevice device = host.OpenDevice(address).Bind(context, cookie: 1);
    using IoAddressSpace space = context.CreateAddressSpace();
    using Attachment attachment = device.Attach(space);
    using DmaBuffer buffer = host.AllocateBuffer(4096);
    using Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);
    using ConfigSpace config = device.OpenConfigSpace();
    config.EnableBusMaster();
    using Bar bar = device.OpenBar(0);
    Console.WriteLine(FirstDma.Run(bar, buffer, mapping));
    using CancellationTokenSource limit = new(TimeSpan.FromSeconds(10));
    Console.WriteLine($"10! = {await FirstInterrupt.RunAsync(device, bar, 10, limit.Token)}");
    return 0;
}
catch (Exception failure) when (failure is IommuFdException or OperationCanceledException)
{
    Console.Error.WriteLine(failure.Message);
    return 1;
}
