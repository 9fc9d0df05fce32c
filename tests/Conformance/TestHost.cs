using IommuFd.HwSim;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Xunit;

namespace Conformance;

/// <summary>
/// The machine under test. CONFORMANCE_HOST=sim (the default) is a simulated machine of its own for every test, kernel is the running Linux; both
/// have the same devices at the same addresses (scripts/vm/README.md). A test asserts only what Linux does.
/// </summary>
internal sealed class TestHost : IDisposable
{
    private readonly List<string> _bound = [];
    private readonly List<int> _descriptors = [];
    private readonly List<(nint Address, nuint Length)> _mappings = [];

    /// <summary>Boots the machine, or takes the running one.</summary>
    /// <param name="needsIommufd">False for cases of what was there before /dev/iommu.</param>
    public TestHost(bool needsIommufd = true)
    {
        string name = Environment.GetEnvironmentVariable("CONFORMANCE_HOST") ?? "sim";
        IsKernel = name switch
        {
            "sim" => false,
            "kernel" => true,
            _ => throw new InvalidOperationException($"CONFORMANCE_HOST is '{name}'; it is sim or kernel"),
        };
        Host = CommandLog.Over(IsKernel ? new LinuxHost() : Simulated());
        Need(!needsIommufd || Host.Sysfs.Status("/dev/iommu", out _) == 0, "there is no /dev/iommu");
    }

    public bool IsKernel { get; }

    public bool IsVtdScalable => Read("/proc/cmdline").Contains("sm_on", StringComparison.Ordinal);

    public IHost Host { get; }

    /// <summary>The simulated machine itself, past every wrapper; null under a real kernel.</summary>
    public SimulatedHost? Machine { get; private set; }

    public IKernel Kernel => Host.Kernel;

    public ISysfs Sysfs => Host.Sysfs;

    /// <summary>An edu alone in its group.</summary>
    public string Single => Present("0000:00:04.0", "a device alone in its group");

    /// <summary>An NVMe controller, alone in its group, with function-level reset.</summary>
    public string Nvme => Present("0000:00:05.0", "an NVMe controller");

    /// <summary>A root port.</summary>
    public string RootPort => Present("0000:00:06.0", "a root port");

    /// <summary>The bridge to conventional PCI above <see cref="Conventional"/> and <see cref="SecondConventional"/>.</summary>
    public string Bridge => Present("0000:00:07.0", "a bridge to conventional PCI");

    /// <summary>The first of two edus on a conventional bus.</summary>
    public string Conventional => Present("0000:02:01.0", "a device on a conventional bus");

    /// <summary>The second one; it has no IOMMU behind an SMMUv3.</summary>
    public string SecondConventional => Present("0000:02:02.0", "a second device on a conventional bus");

    /// <summary>A network controller with SR-IOV.</summary>
    public string Nic => Present("0000:01:00.0", "a network controller with SR-IOV");

    /// <summary>
    /// One of two edus in one group with the port above them: on the conventional bus, or (behind an SMMUv3) below a port without ACS.
    /// </summary>
    public string PairA => Present(HasOpenPort ? "0000:03:00.0" : "0000:02:01.0", "a group of two devices");

    /// <summary>The other one.</summary>
    public string PairB => Present(HasOpenPort ? "0000:03:00.1" : "0000:02:02.0", "a group of two devices");

    /// <summary>The bridge or port above <see cref="PairA"/> and <see cref="PairB"/>, in one group with them.</summary>
    public string PairPort => Present(HasOpenPort ? "0000:00:0d.0" : "0000:00:07.0", "a group of two devices");

    private bool HasOpenPort => Exists(Path("0000:03:00.0", "vendor"));

    /// <summary>Skips the test, with the reason printed, unless the machine has what it needs.</summary>
    public static void Need(bool present, string otherwise)
    {
        if (!present)
        {
            Assert.Skip(otherwise);
        }
    }

    /// <summary>Skips the test where the IOMMU is of another family: what it asserts is VT-d's.</summary>
    public void NeedVtd() => Need(Exists("/sys/class/iommu/dmar0"), "asserts what VT-d's driver does; the IOMMU is of another family");

    /// <summary>True when the IOMMU is an SMMUv3.</summary>
    public bool IsSmmu => Sysfs.List("/sys/class/iommu", out string[] units) >= 0
        && Array.Exists(units, static unit => unit.StartsWith("smmu3.", StringComparison.Ordinal));

    /// <summary>Skips the test unless the VT-d unit is one without nesting and snoop control, as QEMU 10 offers it.</summary>
    public void NeedPlainVtd()
    {
        const ulong snoopControl = 1 << 7, nesting = 1 << 26;
        NeedVtd();
        ulong ecap = ulong.Parse(Read("/sys/class/iommu/dmar0/intel-iommu/ecap"), System.Globalization.NumberStyles.HexNumber,
            System.Globalization.CultureInfo.InvariantCulture);
        Need((ecap & (snoopControl | nesting)) == 0, "asserts what VT-d's driver refuses on a unit without nesting and snoop control; this one has "
            + "them");
    }

    public static string Path(string device, string attribute) => $"/sys/bus/pci/devices/{device}/{attribute}";

    public string Read(string path)
    {
        Succeeds(Sysfs.ReadText(path, out string text), $"read {path}");
        return text.TrimEnd('\n');
    }

    public int Write(string path, string text) => Sysfs.WriteText(path, text);

    public bool Exists(string path) => Sysfs.Status(path, out _) == 0;

    /// <summary>The bound driver's name, or null.</summary>
    public string? DriverOf(string device) =>
        Sysfs.ReadLink(Path(device, "driver"), out string target) < 0 ? null : target[(target.LastIndexOf('/') + 1)..];

    /// <summary>Number of the IOMMU group.</summary>
    public int GroupOf(string device)
    {
        Succeeds(Sysfs.ReadLink(Path(device, "iommu_group"), out string target), "iommu_group");
        return int.Parse(target[(target.LastIndexOf('/') + 1)..], System.Globalization.CultureInfo.InvariantCulture);
    }

    /// <summary>Gives a device to vfio-pci for the rest of the test.</summary>
    public string BindVfio(string device) => BindTo(device, "vfio-pci");

    /// <summary>Gives a device to a driver, with driver_override, for the rest of the test.</summary>
    public string BindTo(string device, string driver)
    {
        if (DriverOf(device) == driver)
        {
            return device;
        }

        if (!_bound.Contains(device))
        {
            _bound.Add(device);
        }

        Unbind(device);
        Succeeds(Write(Path(device, "driver_override"), driver), "driver_override");
        Succeeds(Write("/sys/bus/pci/drivers_probe", device), "drivers_probe");
        Assert.Equal(driver, DriverOf(device));
        return device;
    }

    /// <summary>Takes a device's driver away for the rest of the test.</summary>
    public void Unbind(string device)
    {
        if (!_bound.Contains(device))
        {
            _bound.Add(device);
        }

        if (DriverOf(device) is string driver)
        {
            Succeeds(Write($"/sys/bus/pci/drivers/{driver}/unbind", device), "unbind");
        }
    }

    /// <summary>The path of a device's cdev.</summary>
    public string CdevOf(string device)
    {
        Succeeds(Sysfs.List(Path(device, "vfio-dev"), out string[] names), "vfio-dev");
        return $"/dev/vfio/devices/{Assert.Single(names)}";
    }

    /// <summary>Opens for the rest of the test.</summary>
    public int Open(string path) => Keep(Succeeds(Kernel.Open(path, Libc.O_RDWR | Libc.O_CLOEXEC, 0), $"open {path}"));

    /// <summary>Opens /dev/iommu.</summary>
    public int OpenIommu() => Open("/dev/iommu");

    /// <summary>Opens a device's cdev; it is bound to vfio-pci first.</summary>
    public int OpenDevice(string device) => Open(CdevOf(BindVfio(device)));

    /// <summary>An eventfd that does not block.</summary>
    public int EventFd() => Keep(Succeeds(Kernel.EventFd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), "eventfd"));

    /// <summary>Closes it at the end of the test.</summary>
    public int Keep(int descriptor)
    {
        _descriptors.Add(descriptor);
        return descriptor;
    }

    /// <summary>Closes it now.</summary>
    public void Close(int descriptor)
    {
        Assert.True(_descriptors.Remove(descriptor));
        Succeeds(Kernel.Close(descriptor), "close");
    }

    /// <summary>Zeroed memory of whole pages for the rest of the test.</summary>
    public nint Pages(int count)
    {
        nuint length = (nuint)count * 4096;
        nint address = Kernel.Mmap(0, length, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        Assert.False(address is < 0 and >= -4095, "mmap");
        _mappings.Add((address, length));
        return address;
    }

    /// <summary>An ioctl with a struct.</summary>
    public unsafe int Ioctl<T>(int descriptor, uint request, ref T argument)
        where T : unmanaged
    {
        fixed (T* pointer = &argument)
        {
            return Kernel.Ioctl(descriptor, request, (nint)pointer);
        }
    }

    /// <summary>An ioctl with bytes of any length.</summary>
    public unsafe int Ioctl(int descriptor, uint request, byte[] argument)
    {
        fixed (byte* pointer = argument)
        {
            return Kernel.Ioctl(descriptor, request, (nint)pointer);
        }
    }

    /// <summary>The result, which must not be an error.</summary>
    public static int Succeeds(int result, string call)
    {
        Assert.True(result >= 0, $"{call}: {Errno.Name(-result)}");
        return result;
    }

    /// <summary>The result must be this error.</summary>
    public static void Fails(int errno, int result) =>
        Assert.True(result == -errno, $"expected {Errno.Name(errno)}, got {(result < 0 ? Errno.Name(-result) : result)}");

    public void Dispose()
    {
        for (int i = _descriptors.Count - 1; i >= 0; i--)
        {
            _ = Kernel.Close(_descriptors[i]);
        }

        foreach ((nint address, nuint length) in _mappings)
        {
            _ = Kernel.Munmap(address, length);
        }

        if (IsKernel)
        {
            GiveBack();
        }

        Host.Dispose();
    }

    // CONFORMANCE_TOPOLOGY chooses the machine; with CONFORMANCE_FAIL_NTH=1 every ioctl fails in every way before it succeeds.
    private IHost Simulated()
    {
        Topology topology = Topology.ByName(Environment.GetEnvironmentVariable("CONFORMANCE_TOPOLOGY") ?? "intel");
        if (Environment.GetEnvironmentVariable("CONFORMANCE_FAIL_NTH") != "1")
        {
            return Machine = new SimulatedHost(topology);
        }

        var faults = new FailNth();
        return new FailNthHost(Machine = new SimulatedHost(topology, faults: faults), faults);
    }

    // The next test finds every device as the machine booted.
    private void GiveBack()
    {
        foreach (string device in _bound)
        {
            if (DriverOf(device) is string driver)
            {
                _ = Write($"/sys/bus/pci/drivers/{driver}/unbind", device);
            }

            _ = Write(Path(device, "driver_override"), "\n");
        }

        foreach (string device in _bound)
        {
            _ = Write("/sys/bus/pci/drivers_probe", device);
        }
    }

    private string Present(string device, string what)
    {
        Need(Exists(Path(device, "vendor")), $"the machine lacks {what} at {device}");
        return device;
    }
}
