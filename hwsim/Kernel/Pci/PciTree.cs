using IommuFd.HwSim.Devices;
using IommuFd.Native;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>The machine's PCI functions and how they hang together: scanning, IOMMU groups, removal, virtual functions.</summary>
/// <remarks>
/// Does not model: resource assignment after boot (a function comes back with the addresses it had), bus numbers that change, DMA aliases but those
/// of a conventional bus.
/// </remarks>
internal sealed class PciTree
{
    private readonly Lock _gate = new();
    private readonly Topology _topology;
    private readonly PciBus _bus;
    private readonly Func<FunctionTopology, PciDevice?, PciDevice> _hardware;
    private readonly GroupTable _groups;
    private readonly Dictionary<string, PciDevice> _silicon = new(StringComparer.Ordinal);
    private readonly HashSet<PciFunction> _noVirtualProbe = [];
    private readonly PciSysfs _sysfs;

    public PciTree(Topology topology, PciBus bus, FileTree tree, GroupTable groups, Func<FunctionTopology, PciDevice?, PciDevice> hardware)
    {
        _topology = topology;
        _bus = bus;
        _groups = groups;
        _hardware = hardware;
        _sysfs = new PciSysfs(tree, bus, this);
    }

    /// <summary>How the functions are shown.</summary>
    public PciSysfs Sysfs => _sysfs;

    /// <summary>A function was found, before it is offered to drivers; or it is gone.</summary>
    public event Action<PciFunction, bool>? Changed;

    /// <summary>The silicon at an address; null where there is none.</summary>
    public PciDevice? Silicon(string address)
    {
        lock (_gate)
        {
            return _silicon.GetValueOrDefault(address);
        }
    }

    /// <summary>Frees what the device models hold.</summary>
    public void DisposeSilicon()
    {
        lock (_gate)
        {
            foreach (PciDevice device in _silicon.Values)
            {
                (device as IDisposable)?.Dispose();
            }
        }
    }

    /// <summary>Scans all buses for functions that are not known yet and offers them to the drivers.</summary>
    public int Rescan()
    {
        var found = new List<PciFunction>();
        lock (_gate)
        {
            // All functions of a bus come before those of the buses below it; the groups are numbered in that order.
            foreach (FunctionTopology item in _topology.Functions)
            {
                _ = PciAddress.TryParse(item.Address, out PciAddress address);
                if (_bus.Find(item.Address) is not null)
                {
                    continue;
                }

                PciFunction? bridge = null;
                if (address.Bus != 0)
                {
                    bridge = Array.Find(_bus.Functions, f => f.Topology.SecondaryBus == address.Bus && f.Address.Segment == address.Segment);
                    if (bridge is null)
                    {
                        continue;
                    }
                }

                if (!_silicon.TryGetValue(item.Address, out PciDevice? hardware))
                {
                    _silicon[item.Address] = hardware = _hardware(item, null);
                    if (IsMultifunction(address))
                    {
                        hardware.Config.Set8(PCI_HEADER_TYPE, (byte)(hardware.Config.Read(PCI_HEADER_TYPE, 1) | PCI_HEADER_TYPE_MULTI));
                    }
                }

                var function = new PciFunction(address, hardware, item) { Bridge = bridge };
                Assign(function);
                Appear(function);
                found.Add(function);
            }
        }

        Probe(found);
        return 0;
    }

    /// <summary>Removes a function, and what is below it, from the bus (surprise removal has the same effect: drivers let go first).</summary>
    public int Remove(PciFunction function)
    {
        foreach (PciFunction below in _bus.Functions)
        {
            if (below.Bridge == function && !below.IsVirtual)
            {
                Remove(below);
            }
        }

        if (function.VirtualFunctions.Count != 0)
        {
            DisableVirtual(function);
        }

        if (!function.IsRegistered)
        {
            return 0;
        }

        _bus.Remove(function);
        Disappear(function);
        return 0;
    }

    /// <summary>pci_enable_sriov: the virtual functions appear.</summary>
    public int EnableVirtual(PciFunction function, int count, string? driverOverride = null)
    {
        int offset = (int)function.Read(function.Sriov + PCI_SRIOV_VF_OFFSET, 2);
        int stride = (int)function.Read(function.Sriov + PCI_SRIOV_VF_STRIDE, 2);
        var found = new List<PciFunction>();
        lock (_gate)
        {
            function.Write(function.Sriov + PCI_SRIOV_NUM_VF, 2, (uint)count);
            function.Write(function.Sriov + PCI_SRIOV_CTRL, 2,
                function.Read(function.Sriov + PCI_SRIOV_CTRL, 2) | PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE);
            for (int i = 0; i < count; i++)
            {
                PciAddress address = PciAddress.FromRequesterId(function.Address.Segment,
                    (ushort)(function.Address.RequesterId + offset + (i * stride)));
                FunctionTopology item = VirtualTopology(function.Topology, address, i);
                var virtualFunction = new PciFunction(address, _hardware(item, function.Hardware), item, function) { Bridge = function.Bridge,
                    DriverOverride = driverOverride };
                _silicon[virtualFunction.Name] = virtualFunction.Hardware;
                Assign(virtualFunction);
                function.VirtualFunctions.Add(virtualFunction);
                Appear(virtualFunction);
                found.Add(virtualFunction);
            }
        }

        if (!_noVirtualProbe.Contains(function))
        {
            Probe(found);
        }

        return 0;
    }

    /// <summary>pci_disable_sriov: the virtual functions go; a driver that is in use is waited for.</summary>
    public void DisableVirtual(PciFunction function)
    {
        while (function.VirtualFunctions.Count != 0)
        {
            PciFunction last = function.VirtualFunctions[^1];
            _bus.Remove(last);
            Disappear(last);
            function.VirtualFunctions.Remove(last);
            lock (_gate)
            {
                _silicon.Remove(last.Name);
            }
        }

        function.Write(function.Sriov + PCI_SRIOV_CTRL, 2,
            function.Read(function.Sriov + PCI_SRIOV_CTRL, 2) & ~(uint)(PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE));
        function.Write(function.Sriov + PCI_SRIOV_NUM_VF, 2, 0);
    }

    /// <summary>sriov_drivers_autoprobe.</summary>
    public bool AutoProbeVirtual(PciFunction function) => !_noVirtualProbe.Contains(function);

    /// <summary>Sets sriov_drivers_autoprobe.</summary>
    public void SetAutoProbeVirtual(PciFunction function, bool value) => _ = value ? _noVirtualProbe.Remove(function) : _noVirtualProbe.Add(function);

    /// <summary>Resets the bus below a bridge.</summary>
    public int ResetSubordinate(PciFunction bridge)
    {
        ResetBus(BelowBridge(bridge));
        return 0;
    }

    /// <summary>The functions directly below a bridge, virtual ones included.</summary>
    public PciFunction[] BelowBridge(PciFunction bridge) => [.. _bus.Functions.Where(f => f.Bridge == bridge)];

    /// <summary>pci_reset_bus: state of every function is saved, all are reset, state is restored.</summary>
    public static void ResetBus(IReadOnlyList<PciFunction> functions)
    {
        foreach (PciFunction function in functions)
        {
            function.SaveState();
        }

        foreach (PciFunction function in functions)
        {
            function.Hardware.Reset();
        }

        foreach (PciFunction function in functions)
        {
            function.RestoreState();
        }
    }

    private bool IsMultifunction(PciAddress address) => _topology.Functions.Any(item => PciAddress.TryParse(item.Address, out PciAddress other)
        && other != address && (other.Segment, other.Bus, other.Device) == (address.Segment, address.Bus, address.Device));

    private void Probe(List<PciFunction> found)
    {
        if (_bus.AutoProbe)
        {
            foreach (PciFunction function in found)
            {
                _ = _bus.Attach(function);
            }
        }
    }

    private void Appear(PciFunction function)
    {
        function.BusMates = f => [.. _bus.Functions.Where(other => other.Bridge == f.Bridge && other.Address.Bus == f.Address.Bus)];
        function.InitResetMethods();
        _bus.Add(function);
        _sysfs.Add(function);
        _groups.Add(function);
        Changed?.Invoke(function, true);
    }

    private void Disappear(PciFunction function)
    {
        Changed?.Invoke(function, false);
        _groups.Remove(function);
        _sysfs.Remove(function);
    }

    // What firmware did before the kernel came up: BARs have addresses.
    private static void Assign(PciFunction function)
    {
        foreach (BarTopology bar in function.Topology.Bars)
        {
            function.Resources[bar.Index] = PciResource.Of(bar, bar.Address);
            if (!function.IsVirtual)
            {
                int offset = PCI_BASE_ADDRESS_0 + (bar.Index * 4);
                function.Write(offset, 4, (uint)bar.Address);
                if (bar.Kind is BarKind.Memory64 or BarKind.Prefetchable64)
                {
                    function.Write(offset + 4, 4, (uint)(bar.Address >> 32));
                }
            }
        }

        int total = function.Sriov == 0 ? 0 : (int)function.Read(function.Sriov + PCI_SRIOV_TOTAL_VF, 2);
        foreach (BarTopology bar in function.Topology.VfBars)
        {
            PciResource one = PciResource.Of(bar, bar.Address);
            function.Resources[PciResource.Iov + bar.Index] = one with { Length = one.Length * (ulong)total };
            if (function.Sriov != 0)
            {
                function.Write(function.Sriov + PCI_SRIOV_BAR + (bar.Index * 4), 4, (uint)bar.Address);
                function.Write(function.Sriov + PCI_SRIOV_BAR + (bar.Index * 4) + 4, 4, (uint)(bar.Address >> 32));
            }
        }

        if (function.IsBridge)
        {
            AssignWindows(function);
        }
    }

    // The windows that the bridge's registers hold (PCI-to-PCI bridge specification, 3.2.5).
    private static void AssignWindows(PciFunction function)
    {
        uint io = function.Read(0x1c, 2), memory = function.Read(0x20, 4), prefetchable = function.Read(0x24, 4);
        Window(0, (io & 0xf0) << 8, ((io >> 8) & 0xf0) << 8, 0xfff, IORESOURCE_IO);
        Window(1, (memory & 0xfff0) << 16, memory & 0xfff00000, 0xfffff, IORESOURCE_MEM);
        ulong high = function.Read(0x28, 4), limit = function.Read(0x2c, 4);
        Window(2, ((prefetchable & 0xfff0) << 16) | (high << 32), (prefetchable & 0xfff00000) | (limit << 32), 0xfffff,
            IORESOURCE_MEM | IORESOURCE_PREFETCH | IORESOURCE_MEM_64 | 1);

        void Window(int i, ulong start, ulong last, ulong granule, uint flags)
        {
            if (start <= last && last != 0)
            {
                function.Resources[PciResource.Window + i] = new PciResource(start, last - start + granule + 1, flags);
            }
        }
    }

    private static FunctionTopology VirtualTopology(FunctionTopology physical, PciAddress address, int index) => new()
    {
        Address = address.ToString(),
        Model = physical.Model is null ? null : physical.Model + "vf",
        Properties = physical.Properties,
        Vendor = 0xffff,
        Device = 0xffff,
        SubsystemVendor = physical.SubsystemVendor,
        SubsystemDevice = physical.SubsystemDevice,
        Class = physical.Class,
        Revision = physical.Revision,
        ConfigSize = physical.ConfigSize,
        Config = physical.VfConfig,
        Bars = [.. physical.VfBars.Select(bar => bar with { Address = bar.Address + (bar.Size * (ulong)index) })],
        NumaNode = physical.NumaNode,
        BypassIommu = physical.BypassIommu,
    };
}
