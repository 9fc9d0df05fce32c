using System.Globalization;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>VFIO of one machine: the registered devices, their groups and their nodes (drivers/vfio/vfio_main.c and group.c).</summary>
internal sealed class VfioCore
{
    private const uint GroupMajor = 252, DeviceMajor = 251, MiscMajor = 10, ContainerMinor = 196;
    private readonly Lock _gate = new();
    private readonly FileTree _tree;
    private readonly GroupTable _groupTable;
    private readonly LinuxKernel _real;
    private readonly SimulatedProcess _process;
    private readonly SortedDictionary<int, VfioDevice> _devices = [];
    private readonly List<VfioGroup> _groups = [];
    private readonly Dictionary<object, VfioDeviceSet> _sets = [];

    public VfioCore(Topology topology, FileTree tree, GroupTable groups, SimulatedProcess process, LinuxKernel real, PhysicalMemory memory)
    {
        Memory = memory;
        _tree = tree;
        _groupTable = groups;
        _real = real;
        _process = process;
        HasCdev = !topology.Without.Contains("vfio-cdev") && !topology.Without.Contains("iommufd");
        HasGroup = !topology.Without.Contains("vfio-group");
        HasNoIommu = !topology.Without.Contains("vfio-noiommu");
        tree.Directory("/sys/class/vfio");
        tree.Directory("/sys/class/vfio-dev");
        tree.Directory("/sys/devices/virtual/vfio");
        Watcher = new EventfdWatcher(real);
        if (HasGroup)
        {
            tree.Add(tree.Directory("/dev/vfio"), "vfio", new DeviceNode(0x1b6, MiscMajor, ContainerMinor, (int _, out SimulatedFile? file) =>
            {
                file = new VfioContainer(this, memory);
                return 0;
            }));
        }
    }

    /// <summary>Physical memory of the machine.</summary>
    public PhysicalMemory Memory { get; }

    /// <summary>The process that calls (current): the machine's own one, unless this thread serves another.</summary>
    public SimulatedProcess Process => Current.Value ?? _process;

    /// <summary>The process whose call this thread serves, when it is not the machine's own.</summary>
    public ThreadLocal<SimulatedProcess?> Current { get; } = new();

    /// <summary>Waits for the eventfds that users hand in.</summary>
    public EventfdWatcher Watcher { get; }

    /// <summary>The /dev/iommu of the proposal, when the machine has that one instead of iommufd; then device nodes speak its dialect.</summary>
    public RfcModule? Rfc { get; set; }

    /// <summary>CONFIG_VFIO_DEVICE_CDEV.</summary>
    public bool HasCdev { get; }

    /// <summary>CONFIG_VFIO_GROUP.</summary>
    public bool HasGroup { get; }

    /// <summary>CONFIG_VFIO_NOIOMMU.</summary>
    public bool HasNoIommu { get; }

    /// <summary>Module parameter enable_unsafe_noiommu_mode.</summary>
    public bool EnableUnsafeNoIommu { get; set; }

    /// <summary>Module parameter allow_unsafe_interrupts of vfio_iommu_type1.</summary>
    public bool Type1AllowUnsafeInterrupts { get; set; }

    /// <summary>Module parameter disable_hugepages of vfio_iommu_type1.</summary>
    public bool Type1DisableHugePages { get; set; }

    /// <summary>Module parameter dma_entry_limit of vfio_iommu_type1.</summary>
    public uint DmaEntryLimit { get; set; } = ushort.MaxValue;

    /// <summary>iommufd_ctx_from_fd: an iommufd with a reference taken; -EBADF for a closed descriptor, -EBADFD for any other file.</summary>
    public int IommufdFrom(int descriptor, out IommufdContext? iommufd)
    {
        SimulatedFile? file = Process.GetFile(descriptor);
        iommufd = file as IommufdContext;
        if (iommufd is not null)
        {
            return 0;
        }

        file?.Put();
        return file is null && !IsOpen(descriptor) ? -Errno.EBADF : -Errno.EBADFD;
    }

    /// <summary>True when the number belongs to any open file of the process.</summary>
    public bool IsOpen(int descriptor) => _real.Fcntl(descriptor, Libc.F_GETFD, 0) >= 0;

    /// <summary>eventfd_ctx_fdget.</summary>
    public int EventfdFrom(int descriptor, out EventfdContext? eventfd) => EventfdContext.From(_real, Process, descriptor, out eventfd);

    /// <summary>vfio_register_group_dev: the device gets a number, a group and its nodes.</summary>
    /// <param name="device">The device.</param>
    /// <param name="setKey">What it shares a reset with; null for a set of its own.</param>
    /// <param name="emulated">True for a device whose driver mediates all DMA.</param>
    public int Register(VfioDevice device, object? setKey, bool emulated = false)
    {
        lock (_gate)
        {
            int index = 0;
            while (_devices.ContainsKey(index))
            {
                index++;
            }

            device.Index = index;
            device.NoIommu = HasNoIommu && HasCdev && EnableUnsafeNoIommu && device.Iommu.Ops is null && !emulated;
            object key = setKey ?? device;
            if (!_sets.TryGetValue(key, out VfioDeviceSet? set))
            {
                _sets[key] = set = new VfioDeviceSet();
            }

            device.Set = set;
            int error = SetGroup(device, emulated);
            if (error < 0)
            {
                ForgetSet(key, set);
                return error;
            }

            if (!emulated && device.Group.Type == VfioGroupType.Iommu && !device.Iommu.Capable(IommuCapability.CacheCoherency))
            {
                RemoveGroup(device);
                ForgetSet(key, set);
                return -Errno.EINVAL;
            }

            lock (set.Lock)
            {
                set.Devices.Add(device);
            }

            _devices[index] = device;
            ShowDevice(device);
            lock (device.Group.Lock)
            {
                device.Group.Devices.Add(device);
            }

            return 0;
        }
    }

    /// <summary>vfio_unregister_group_dev: nobody can open the device any more; waits until those that did have closed it.</summary>
    public void Unregister(VfioDevice device)
    {
        lock (device.Group.Lock)
        {
            device.Group.Devices.Remove(device);
        }

        HideDevice(device);
        device.WaitForRelease();
        lock (_gate)
        {
            RemoveGroup(device);
            lock (device.Set.Lock)
            {
                device.Set.Devices.Remove(device);
            }

            foreach ((object key, VfioDeviceSet set) in _sets)
            {
                if (set == device.Set)
                {
                    ForgetSet(key, set);
                    break;
                }
            }

            _devices.Remove(device.Index);
        }
    }

    private void ForgetSet(object key, VfioDeviceSet set)
    {
        if (set.Devices.Count == 0)
        {
            _sets.Remove(key);
        }
    }

    // vfio_device_set_group: the group of the device's IOMMU group, or one made for a device that has none.
    private int SetGroup(VfioDevice device, bool emulated)
    {
        if (emulated || device.Iommu.Group is null)
        {
            if (!emulated && !(HasNoIommu && EnableUnsafeNoIommu))
            {
                return -Errno.EINVAL;
            }

            IommuGroup alone = _groupTable.AddAlone(device.Iommu, device.Directory, "vfio-noiommu");
            device.Group = CreateGroup(alone, emulated ? VfioGroupType.EmulatedIommu : VfioGroupType.NoIommu);
            return 0;
        }

        if (_groups.Find(group => group.IommuGroup == device.Iommu.Group) is { } known)
        {
            known.Drivers++;
            device.Group = known;
        }
        else
        {
            device.Group = CreateGroup(device.Iommu.Group, VfioGroupType.Iommu);
        }

        return 0;
    }

    private VfioGroup CreateGroup(IommuGroup iommuGroup, VfioGroupType type)
    {
        uint minor = 0;
        while (_groups.Exists(group => group.Minor == minor))
        {
            minor++;
        }

        var group = new VfioGroup(this, iommuGroup, type) { Minor = minor };
        _groups.Add(group);
        if (HasGroup)
        {
            string name = GroupName(group);
            DirectoryNode at = _tree.Add(_tree.Directory("/sys/devices/virtual/vfio"), name);
            ShowDeviceNumber(at, GroupMajor, minor, $"vfio/{name}");
            _tree.Link(at, "subsystem", _tree.Directory("/sys/class/vfio"));
            _tree.Link(_tree.Directory("/sys/class/vfio"), name, at);
            _tree.Add(_tree.Directory("/dev/vfio"), name,
                new DeviceNode(0x180, GroupMajor, minor, (int _, out SimulatedFile? file) => group.Open(out file)));
        }

        return group;
    }

    private static string GroupName(VfioGroup group) => (group.Type == VfioGroupType.NoIommu ? "noiommu-" : "")
        + group.IommuGroup!.Id.ToString(CultureInfo.InvariantCulture);

    private void RemoveGroup(VfioDevice device)
    {
        VfioGroup group = device.Group;
        string name = GroupName(group);
        if (group.Type != VfioGroupType.Iommu)
        {
            _groupTable.RemoveAlone(device.Iommu, device.Directory);
        }

        if (--group.Drivers != 0)
        {
            return;
        }

        _groups.Remove(group);
        if (HasGroup)
        {
            _tree.Remove(_tree.Directory("/dev/vfio"), name);
            _tree.Remove(_tree.Directory("/sys/class/vfio"), name);
            _tree.Remove(_tree.Directory("/sys/devices/virtual/vfio"), name);
        }

        lock (group.Lock)
        {
            group.Container?.Detach(group);
            group.IommuGroup = null;
        }
    }

    private void ShowDevice(VfioDevice device)
    {
        string name = device.NodeName;
        DirectoryNode at = _tree.Directory($"{device.Directory.Path}/vfio-dev/{name}");
        _tree.Link(at, "device", device.Directory);
        _tree.Link(at, "subsystem", _tree.Directory("/sys/class/vfio-dev"));
        _tree.Link(_tree.Directory("/sys/class/vfio-dev"), name, at);
        if (HasCdev)
        {
            ShowDeviceNumber(at, DeviceMajor, (uint)device.Index, $"vfio/devices/{name}");
            _tree.Add(_tree.Directory("/dev/vfio/devices"), name,
                new DeviceNode(0x180, DeviceMajor, (uint)device.Index, (int _, out SimulatedFile? file) => OpenDevice(device, out file)));
        }
        else
        {
            _tree.Add(at, "uevent", static () => "", static _ => 0);
        }
    }

    private void HideDevice(VfioDevice device)
    {
        string name = device.NodeName;
        _tree.Remove(_tree.Directory("/sys/class/vfio-dev"), name);
        _tree.Remove(device.Directory, "vfio-dev");
        if (HasCdev)
        {
            DirectoryNode nodes = _tree.Directory("/dev/vfio/devices");
            _tree.Remove(nodes, name);
            if (_tree.List(nodes).Length == 0)
            {
                _tree.Remove(nodes);
            }
        }
    }

    private void ShowDeviceNumber(DirectoryNode at, uint major, uint minor, string name)
    {
        _tree.Add(at, "dev", () => $"{major}:{minor}\n");
        _tree.Add(at, "uevent", () => $"MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\n", static _ => 0);
    }

    private int OpenDevice(VfioDevice device, out SimulatedFile? file)
    {
        file = null;
        if (!device.TryGetRegistration())
        {
            return -Errno.ENODEV;
        }

        if (device.NoIommu && !Process.Capable(Capabilities.SysRawIO))
        {
            device.PutRegistration();
            return -Errno.EPERM;
        }

        file = Rfc is { } rfc ? new RfcDeviceFile(device, rfc) : new VfioDeviceFile(device, null);
        return 0;
    }
}
