using IommuFd.HwSim.Devices;
using IommuFd.HwSim.Foreign;
using IommuFd.HwSim.Kernel;
using IommuFd.HwSim.Units;
using IommuFd.Native;

namespace IommuFd.HwSim;

/// <summary>
/// A simulated machine: an IOMMU, PCI devices, and the part that Linux plays between them and a program. Machines are independent of each other; any
/// number may live in one process.
/// </summary>
/// <remarks>
/// Descriptors that it hands out are real ones, calls on anything else go to the real kernel. Does not model: other processes, fork(2), time.
/// </remarks>
public sealed class SimulatedHost : IHost
{
    private readonly LinuxKernel _real = new();
    private readonly FileTree _tree = new();
    private readonly DescriptorTable _table;
    private readonly SimulatedKernel _kernel;
    private readonly VfioCore _vfio;
    private readonly PciTree _pci;
    private readonly PciBus _bus = new();
    private readonly List<SimulatedFile> _held = [];

    /// <summary>Boots a machine: buses are scanned, the IOMMU translates, drivers have bound.</summary>
    /// <param name="topology">The machine.</param>
    /// <param name="seed">Chooses what is not determined otherwise: 0 keeps large pages possible, any other value scatters physical memory.</param>
    /// <param name="faults">Makes calls fail; null for a machine where nothing can.</param>
    /// <exception cref="TopologyException">The topology names something that does not exist.</exception>
    public SimulatedHost(Topology topology, ulong seed = 0, FailNth? faults = null)
    {
        ArgumentNullException.ThrowIfNull(topology);
        Topology = topology;
        Seed = seed;
        Memory = new PhysicalMemory(new PhysicalMemoryOptions { Scattered = seed != 0, Seed = seed });
        _table = new DescriptorTable(_real);
        var process = new MachineProcess(topology.Process, _table, faults);
        Process = process;
        _kernel = new SimulatedKernel(_real, _tree, _table, process, new InProcessUserMemory(process), Memory, faults);
        Memory.Faults = faults;
        Memory.Remote = new OwnMemory();
        Sysfs = new SimulatedSysfs(_tree);

        var log = new KernelLog();
        _tree.Add(_tree.Directory("/dev"), "kmsg", log.Node());
        IommuUnits units = new(topology, Memory, _tree, log);
        Unit = units.Unit;
        var groups = new GroupTable(_tree, units.Attach, units.Directory, "DMA");
        _bus.DmaConfigure = groups.Configure;
        _pci = new PciTree(topology, _bus, _tree, groups, DeviceModels.Create);
        _vfio = new VfioCore(topology, _tree, groups, process, _real, Memory);
        Iommufd = new IommufdModule(Memory) { HasNoIommu = _vfio.HasNoIommu && _vfio.HasCdev };
        AddNodes();
        _ = _pci.Rescan();
        AddDrivers();
        if (!topology.Without.Contains("mdev"))
        {
            var mdevs = new MdevBus(_tree, _vfio);
            mdevs.Register(new MttyParent(_vfio, _tree));
            AddMdevParents(mdevs);
        }

        foreach (HolderTopology holder in topology.Holders)
        {
            AddHolder(holder);
        }
    }

    /// <inheritdoc/>
    public HostKind Kind => HostKind.Simulator;

    /// <inheritdoc/>
    public string Description => $"simulated machine '{Topology.Name}'";

    /// <inheritdoc/>
    public IKernel Kernel => _kernel;

    /// <inheritdoc/>
    public ISysfs Sysfs { get; }

    /// <summary>The machine as data.</summary>
    public Topology Topology { get; }

    /// <summary>The seed it was made with.</summary>
    public ulong Seed { get; }

    /// <summary>Its physical memory.</summary>
    public PhysicalMemory Memory { get; }

    /// <summary>Its IOMMU; null on a machine without one.</summary>
    public IommuUnit? Unit { get; }

    /// <summary>iommufd of the machine.</summary>
    public IommufdModule Iommufd { get; }

    /// <summary>The directories and files of the machine.</summary>
    internal FileTree Tree => _tree;

    /// <summary>The process that uses the machine.</summary>
    public SimulatedProcess Process { get; }

    /// <summary>The IOMMU core's view of a function; null where there is none.</summary>
    public IommuDevice? IommuDevice(string address) => _bus.Find(address)?.Iommu;

    /// <summary>VFIO of the machine.</summary>
    internal VfioCore Vfio => _vfio;

    /// <summary>
    /// The silicon at a PCI address such as 0000:00:04.0, past the kernel: for tests and for injecting events; null where there is none.
    /// </summary>
    public PciDevice? Device(string address) => _pci.Silicon(address);

    /// <summary>Reports an error of a device to its driver, as AER would: with vfio-pci the ERR eventfd is signalled.</summary>
    /// <param name="address">PCI address of the function.</param>
    /// <returns>False when no driver of user space has the function.</returns>
    public bool ReportError(string address)
    {
        if (_bus.Find(address)?.DriverData is not VfioPciDevice device)
        {
            return false;
        }

        device.SignalError();
        return true;
    }

    /// <summary>
    /// What the process holds: pages that are pinned and charged, and its open files with what they hold. For finding what a call or a program left
    /// behind.
    /// </summary>
    /// <returns>One line each; the same text for the same state.</returns>
    public string DescribeHoldings()
    {
        List<string> lines =
            [$"{Process.PinnedPages.Pages} pages pinned, {Process.LockedPages.Pages} charged to the process, {Process.User.LockedPages.Pages}"
                + " to its user"];
        foreach ((int descriptor, SimulatedFile file) in _table.All())
        {
            lines.Add($"{descriptor}: {LeakReport.Describe(file) ?? file.GetType().Name}");
        }

        return string.Join('\n', lines);
    }

    /// <summary>
    /// A processor executes ENQCMD: it sends a work descriptor with a PASID to a device's portal, and the device writes 8 bytes with that PASID. On a
    /// machine of the proposal ("dialect": "rfc").
    /// </summary>
    /// <param name="vm">Descriptor of the VM that the processor runs, so that the PASID is translated; -1 for a process of the host.</param>
    /// <param name="device">Descriptor of the device.</param>
    /// <param name="pasid">The PASID in the processor's register.</param>
    /// <param name="iova">Where the device writes.</param>
    /// <param name="data">What it writes.</param>
    public EnqcmdResult Enqcmd(int vm, int device, uint pasid, ulong iova, ulong data) =>
        _vfio.Rfc is { } rfc ? RfcEnqcmd.Execute(rfc, vm, device, pasid, iova, data) : EnqcmdResult.Fault;

    /// <summary>True when no-snoop DMA of a device bound to a /dev/iommu of the proposal may reach memory: what KVM asks by file.</summary>
    /// <param name="iommu">Its descriptor.</param>
    public bool HasNoncoherentDma(int iommu)
    {
        SimulatedFile? file = Process.GetFile(iommu);
        bool answer = file is RfcContext { HasNoncoherentDma: true };
        file?.Put();
        return answer;
    }

    /// <summary>Closes what is still open and frees the machine's memory. No call may be running.</summary>
    public void Dispose()
    {
        _table.CloseAll();
        _held.ForEach(static file => file.Put());
        _vfio.Watcher.Dispose();
        _pci.DisposeSilicon();
        Memory.Dispose();
        _kernel.FreePinned();
    }

    private void AddNodes()
    {
        var system = new SystemFiles(_tree, Topology);
        system.AddProc();
        system.AddFlag("vfio", "enable_unsafe_noiommu_mode", () => _vfio.EnableUnsafeNoIommu, value => _vfio.EnableUnsafeNoIommu = value);
        system.AddFlag("vfio_iommu_type1", "allow_unsafe_interrupts", () => _vfio.Type1AllowUnsafeInterrupts,
            value => _vfio.Type1AllowUnsafeInterrupts = value);
        system.AddFlag("vfio_iommu_type1", "disable_hugepages", () => _vfio.Type1DisableHugePages, value => _vfio.Type1DisableHugePages = value);
        system.AddNumber("vfio_iommu_type1", "dma_entry_limit", () => _vfio.DmaEntryLimit, value => _vfio.DmaEntryLimit = value);
        if (!Topology.Without.Contains("iommufd"))
        {
            system.AddFlag("iommufd", "allow_unsafe_interrupts", () => Iommufd.AllowUnsafeInterrupts, value => Iommufd.AllowUnsafeInterrupts = value);
            _vfio.Rfc = Topology.Dialect == "rfc" ? new RfcModule(Iommufd, _vfio) : null;
            uint mode = _vfio.Rfc is null ? 0x1b0u : 0x1b6;
            _tree.Add(_tree.Directory("/dev"), "iommu", new DeviceNode(mode, 10, 256, (int _, out SimulatedFile? file) =>
            {
                file = _vfio.Rfc is { } rfc ? rfc.Open() : Iommufd.Open();
                return 0;
            }));
            if (_vfio.Rfc is { } module)
            {
                _tree.Add(_tree.Directory("/dev"), "kvm", new DeviceNode(0x1b6, 10, 232, (int _, out SimulatedFile? file) =>
                {
                    file = new RfcKvm(module);
                    return 0;
                }));
            }
        }
    }

    // Functions that the topology makes parents, under the proposal's kernel.
    private void AddMdevParents(MdevBus mdevs)
    {
        int count = 0;
        foreach (PciFunction function in _bus.Functions)
        {
            if (_vfio.Rfc is { } rfc && function.Topology.Properties.GetValueOrDefault("mdev") == "1")
            {
                _ = PciBus.StoreDriverOverride(function, "siov");
                _ = _bus.Attach(function);
                mdevs.Register(new RfcMdevParent(_vfio, rfc, count == 0 ? "siov" : $"siov{count}", function));
                count++;
            }
        }
    }

    private void AddDrivers()
    {
        var system = new SystemFiles(_tree, Topology);
        var drivers = new List<PciDriver> { new PcieportDriver(), new SiovDriver(), new PciStubDriver(), new VirtioPciDriver(), new NvmeDriver(),
            new IgbDriver(_pci), new IgbvfDriver() };
        if (!Topology.Without.Contains("vfio-pci"))
        {
            var vfioPci = new VfioPciDriver(_vfio, _pci);
            system.AddFlag("vfio_pci", "enable_sriov", () => vfioPci.EnableSriov, value => vfioPci.EnableSriov = value);
            system.AddFlag("vfio_pci", "disable_denylist", () => vfioPci.DisableDenylist,
                value => vfioPci.DisableDenylist = value, isWritable: false);
            system.AddFlag("vfio_pci", "nointxmask", () => vfioPci.NoIntxMask, value => vfioPci.NoIntxMask = value);
            system.AddFlag("vfio_pci", "disable_idle_d3", () => vfioPci.DisableIdleD3, value => vfioPci.DisableIdleD3 = value);
            drivers.Add(vfioPci);
        }

        foreach (PciDriver driver in drivers)
        {
            _bus.Register(driver);
            _tree.Directory("/sys/module/" + driver.Name.Replace('-', '_'));
            _pci.Sysfs.Add(driver);
        }

        foreach (PciFunction function in _bus.Functions)
        {
            _ = _bus.Attach(function);
        }
    }

    private void AddHolder(HolderTopology holder)
    {
        string process = $"/proc/{holder.ProcessId}";
        _tree.Add(_tree.Directory(process), "comm", () => holder.Name + "\n");
        _tree.Add(_tree.Directory(process), "cmdline", () => holder.Name + "\0");
        IommufdContext iommufd = Iommufd.Open();
        DirectoryNode descriptors = _tree.Directory(process + "/fd");
        _tree.Add(descriptors, "3", new LinkNode("/dev/iommu"));
        int next = 4;
        foreach (string address in holder.Devices)
        {
            PciFunction function = _bus.Find(address) ?? throw new TopologyException($"{holder.Name} holds {address}, which is not there");
            _ = PciBus.StoreDriverOverride(function, "vfio-pci");
            if (function.Driver is not null)
            {
                _ = _bus.StoreUnbind(function.Driver, address);
            }

            _ = _bus.Attach(function);
            if (function.DriverData is not VfioPciDevice device || !device.TryGetRegistration())
            {
                throw new TopologyException($"{holder.Name} holds {address}, which vfio-pci does not take");
            }

            var file = new VfioDeviceFile(device, null);
            iommufd.Get();
            int error = file.BindTo(iommufd);
            if (error < 0)
            {
                throw new TopologyException($"{holder.Name} cannot hold {address}: {Errno.Name(-error)}");
            }

            _held.Add(file);
            _tree.Add(descriptors, $"{next++}", new LinkNode($"/dev/vfio/devices/{device.NodeName}"));
        }

        _held.Add(iommufd);
    }
}
