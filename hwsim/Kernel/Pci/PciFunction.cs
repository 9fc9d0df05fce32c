using IommuFd.HwSim.Devices;
using IommuFd.Native;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>A PCI function as the kernel knows it (struct pci_dev): what was found when the bus was scanned, its driver and its state.</summary>
internal sealed partial class PciFunction
{
    private readonly uint[] _saved = new uint[PCI_STD_HEADER_SIZEOF / 4];
    private readonly Dictionary<int, uint> _savedCapabilities = [];
    private (uint[] Header, Dictionary<int, uint> Capabilities)? _openState;

    /// <summary>Scans the function behind <paramref name="hardware"/>.</summary>
    public PciFunction(PciAddress address, PciDevice hardware, FunctionTopology topology, PciFunction? physical = null)
    {
        Address = address;
        Name = address.ToString();
        Hardware = hardware;
        Topology = topology;
        Physical = physical;
        // A virtual function answers ffff:ffff; its ids are in the physical function's SR-IOV capability.
        Vendor = physical?.Vendor ?? (ushort)Read(PCI_VENDOR_ID, 2);
        Device = physical is null ? (ushort)Read(PCI_DEVICE_ID, 2) : (ushort)physical.Read(physical.Sriov + PCI_SRIOV_VF_DID, 2);
        uint classRevision = Read(PCI_CLASS_REVISION, 4);
        Class = classRevision >> 8;
        Revision = (byte)classRevision;
        byte header = (byte)Read(PCI_HEADER_TYPE, 1);
        HeaderType = header & PCI_HEADER_TYPE_MASK;
        IsMultifunction = (header & PCI_HEADER_TYPE_MULTI) != 0;
        Pm = FindCapability(PCI_CAP_ID_PM);
        Msi = FindCapability(PCI_CAP_ID_MSI);
        Msix = FindCapability(PCI_CAP_ID_MSIX);
        Express = FindCapability(PCI_CAP_ID_EXP);
        AdvancedFeatures = FindCapability(PCI_CAP_ID_AF);
        Pasid = FindExtendedCapability(PCI_EXT_CAP_ID_PASID);
        Ats = FindExtendedCapability(PCI_EXT_CAP_ID_ATS);
        Pri = FindExtendedCapability(PCI_EXT_CAP_ID_PRI);
        Sriov = physical is null ? FindExtendedCapability(PCI_EXT_CAP_ID_SRIOV) : 0;
        int subsystem = HeaderType == 0 ? PCI_SUBSYSTEM_VENDOR_ID : FindCapability(PCI_CAP_ID_SSVID) is int at and not 0 ? at + 4 : 0;
        SubsystemVendor = subsystem == 0 ? (ushort)0 : (ushort)Read(subsystem, 2);
        SubsystemDevice = subsystem == 0 ? (ushort)0 : (ushort)Read(subsystem + 2, 2);
        Irq = topology.Irq;
    }

    /// <summary>Where it is.</summary>
    public PciAddress Address { get; }

    /// <summary>Its name on the bus: 0000:00:04.0.</summary>
    public string Name { get; }

    /// <summary>The silicon.</summary>
    public PciDevice Hardware { get; }

    /// <summary>What the topology says of it.</summary>
    public FunctionTopology Topology { get; }

    /// <summary>device_lock: binding, unbinding and resetting exclude each other.</summary>
    public Lock DeviceLock { get; } = new();

    public ushort Vendor { get; }

    public ushort Device { get; }

    public ushort SubsystemVendor { get; }

    public ushort SubsystemDevice { get; }

    /// <summary>24 bits: base class, sub-class, interface.</summary>
    public uint Class { get; }

    public byte Revision { get; }

    /// <summary>0 for a device, 1 for a bridge.</summary>
    public int HeaderType { get; }

    public bool IsMultifunction { get; }

    public bool IsBridge => HeaderType == PCI_HEADER_TYPE_BRIDGE;

    /// <summary>Offset of the power management capability, 0 without; the next ones likewise.</summary>
    public int Pm { get; }

    public int Msi { get; }

    public int Msix { get; }

    public int Express { get; }

    public int AdvancedFeatures { get; }

    public int Sriov { get; }

    public int Pasid { get; }

    public int Ats { get; }

    public int Pri { get; }

    /// <summary>PCI_EXP_TYPE_*; meaningless without <see cref="Express"/>.</summary>
    public int ExpressType => (int)((Read(Express + PCI_EXP_FLAGS, 2) >> 4) & 0xf);

    /// <summary>Size of the configuration space in bytes.</summary>
    public int ConfigSize => Topology.ConfigSize;

    /// <summary>The bridge above; null on the root bus.</summary>
    public PciFunction? Bridge { get; set; }

    public bool IsOnRootBus => Bridge is null;

    /// <summary>The physical function, for a virtual one.</summary>
    public PciFunction? Physical { get; }

    public bool IsVirtual => Physical is not null;

    /// <summary>The virtual functions that are enabled, in their order.</summary>
    public List<PciFunction> VirtualFunctions { get; } = [];

    /// <summary>The address ranges it decodes.</summary>
    public PciResource[] Resources { get; } = new PciResource[PciResource.BridgeCount];

    /// <summary>The interrupt line's number; 0 without one.</summary>
    public uint Irq { get; }

    /// <summary>The IOMMU core's view of it.</summary>
    public IommuDevice Iommu { get; set; } = null!;

    /// <summary>The bound driver.</summary>
    public PciDriver? Driver { get; set; }

    /// <summary>Whatever the driver keeps (dev_get_drvdata).</summary>
    public object? DriverData { get; set; }

    /// <summary>The only driver that may bind, or null.</summary>
    public string? DriverOverride { get; set; }

    /// <summary>True between its appearance and its removal.</summary>
    public bool IsRegistered { get; set; }

    /// <summary>pci_enable_device minus pci_disable_device.</summary>
    public int EnableCount { get; private set; }

    /// <summary>Its directory under /sys/devices.</summary>
    public DirectoryNode? Directory { get; set; }

    public uint Read(int offset, int size) => Hardware.ReadConfig(offset, size);

    public void Write(int offset, int size, uint value) => Hardware.WriteConfig(offset, size, value);

    /// <summary>The offset of a capability, 0 without.</summary>
    public int FindCapability(byte id)
    {
        if ((Read(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST) == 0)
        {
            return 0;
        }

        int at = (int)Read(PCI_CAPABILITY_LIST, 1) & ~3;
        for (int i = 0; at >= PCI_STD_HEADER_SIZEOF && i < 48; i++)
        {
            uint head = Read(at, 2);
            if ((byte)head == id)
            {
                return at;
            }

            at = (int)(head >> 8) & ~3;
        }

        return 0;
    }

    /// <summary>The offset of an extended capability, 0 without.</summary>
    public int FindExtendedCapability(ushort id)
    {
        int at = ConfigSize > PCI_CFG_SPACE_SIZE ? PCI_CFG_SPACE_SIZE : 0;
        for (int i = 0; at >= PCI_CFG_SPACE_SIZE && i < 480; i++)
        {
            uint head = Read(at, 4);
            if (head == 0)
            {
                return 0;
            }

            if ((ushort)head == id)
            {
                return at;
            }

            at = (int)(head >> 20) & ~3;
        }

        return 0;
    }

    /// <summary>pci_enable_device: the function decodes its addresses.</summary>
    public void Enable()
    {
        if (EnableCount++ == 0)
        {
            uint command = Read(PCI_COMMAND, 2);
            for (int i = 0; i < PciResource.Rom; i++)
            {
                command |= Resources[i].Length == 0 ? 0u : Resources[i].IsMemory ? PCI_COMMAND_MEMORY : PCI_COMMAND_IO;
            }

            Write(PCI_COMMAND, 2, command);
        }
    }

    /// <summary>pci_disable_device: the last one takes bus mastering away.</summary>
    public void Disable()
    {
        if (EnableCount > 0 && --EnableCount == 0)
        {
            ClearMaster();
        }
    }

    /// <summary>pci_clear_master.</summary>
    public void ClearMaster() => Write(PCI_COMMAND, 2, Read(PCI_COMMAND, 2) & ~(uint)PCI_COMMAND_MASTER);

    /// <summary>pci_intx.</summary>
    public void SetIntx(bool enable)
    {
        uint command = Read(PCI_COMMAND, 2);
        Write(PCI_COMMAND, 2, enable ? command & ~(uint)PCI_COMMAND_INTX_DISABLE : command | PCI_COMMAND_INTX_DISABLE);
    }

    /// <summary>pci_intx_mask_supported: the INTx disable bit can be written.</summary>
    public bool IntxMaskSupported()
    {
        uint command = Read(PCI_COMMAND, 2);
        Write(PCI_COMMAND, 2, command ^ PCI_COMMAND_INTX_DISABLE);
        bool changed = ((Read(PCI_COMMAND, 2) ^ command) & PCI_COMMAND_INTX_DISABLE) != 0;
        Write(PCI_COMMAND, 2, command);
        return changed;
    }

    /// <summary>pci_save_state: the header and the control registers of the capabilities.</summary>
    public void SaveState()
    {
        for (int i = 0; i < _saved.Length; i++)
        {
            _saved[i] = Read(i * 4, 4);
        }

        _savedCapabilities.Clear();
        if (Express != 0)
        {
            _savedCapabilities[Express + PCI_EXP_DEVCTL] = Read(Express + PCI_EXP_DEVCTL, 2);
        }

        // What is behind a reset as it was before: PASID, ATS and page requests belong to the IOMMU driver.
        if (Pasid != 0)
        {
            _savedCapabilities[Pasid + PCI_PASID_CTRL] = Read(Pasid + PCI_PASID_CTRL, 2);
        }

        if (Ats != 0)
        {
            _savedCapabilities[Ats + PCI_ATS_CTRL] = Read(Ats + PCI_ATS_CTRL, 2);
        }

        if (Pri != 0)
        {
            _savedCapabilities[Pri + PCI_PRI_ALLOC_REQ] = Read(Pri + PCI_PRI_ALLOC_REQ, 2);
            _savedCapabilities[Pri + PCI_PRI_CTRL] = Read(Pri + PCI_PRI_CTRL, 2);
        }

        if (Msix != 0)
        {
            _savedCapabilities[Msix + PCI_MSIX_FLAGS] = Read(Msix + PCI_MSIX_FLAGS, 2);
        }
    }

    /// <summary>pci_store_saved_state: keeps what was saved last, for the end of a long use.</summary>
    public void SaveOpenState()
    {
        SaveState();
        _openState = ((uint[])_saved.Clone(), new Dictionary<int, uint>(_savedCapabilities));
    }

    /// <summary>pci_load_and_free_saved_state: what <see cref="SaveOpenState"/> kept is what <see cref="RestoreState"/> restores.</summary>
    public void LoadOpenState()
    {
        if (_openState is not { } state)
        {
            return;
        }

        state.Header.CopyTo(_saved, 0);
        _savedCapabilities.Clear();
        foreach ((int offset, uint value) in state.Capabilities)
        {
            _savedCapabilities[offset] = value;
        }

        _openState = null;
    }

    /// <summary>pci_restore_state: what <see cref="SaveState"/> saved.</summary>
    public void RestoreState()
    {
        foreach ((int offset, uint value) in _savedCapabilities)
        {
            Write(offset, 2, value);
        }

        // Backwards, as the kernel does: the command register comes after the BARs.
        for (int i = _saved.Length - 1; i >= 0; i--)
        {
            if (Read(i * 4, 4) != _saved[i])
            {
                Write(i * 4, 4, _saved[i]);
            }
        }
    }
}
