using CommandLine;
using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;
using NvmeDriver;

// The two programs of the driver: nvme-cat and nvme-bench. VFIO_HOST=sim|kernel chooses the world; on the simulator the program binds the device itself.
try
{
    using Parser parser = new(settings => (settings.HelpWriter, settings.CaseInsensitiveEnumValues) = (Console.Error, true));
    return parser.ParseArguments<CatOptions, BenchOptions>(args).MapResult(
        (CatOptions cat) => NvmeCat.Run(cat),
        (BenchOptions bench) => NvmeBench.Run(bench),
        errors => errors.IsHelp() || errors.IsVersion() ? 0 : 2);
}
catch (Exception failure) when (failure is IommuFdException or IOException or FormatException or ArgumentException or TimeoutException)
{
    Console.Error.WriteLine(failure.Message);
    return 1;
}

/// <summary>What both programs take.</summary>
internal abstract class DeviceOptions
{
    [Value(0, MetaName = "BDF", Default = "0000:00:05.0", HelpText = "The controller; it must be on a VFIO driver (vfio bind BDF).")]
    public string Address { get; set; } = "";

    [Option("sgl", HelpText = "Describe data by SGLs where the controller has them.")]
    public bool Sgl { get; set; }

    [Option("shadow", HelpText = "Use shadow doorbells where the controller has them.")]
    public bool Shadow { get; set; }

    /// <summary>Opens the machine, with the device on vfio-pci when the machine is a simulated one.</summary>
    public IommuHost OpenHost(out PciAddress address)
    {
        address = PciAddress.Parse(Address);
        IommuHost host = IommuHost.Open();
        if (host.Kind == HostKind.Simulator)
        {
            DriverBinder binder = new(host.Sysfs, new MemoryBindingStore());
            _ = binder.Apply(binder.PlanBind([address], DriverClaim.VfioPci));
        }

        return host;
    }
}
