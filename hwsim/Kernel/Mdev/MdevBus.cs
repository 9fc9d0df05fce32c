using System.Globalization;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A kind of mediated device that a parent can make.</summary>
/// <param name="Id">What follows the parent's driver in the type's name.</param>
/// <param name="Name">For people.</param>
internal sealed record MdevType(string Id, string Name);

/// <summary>A driver of mediated devices with its parent device (struct mdev_parent and mdev_driver).</summary>
internal interface IMdevParent
{
    /// <summary>Its name, and its driver's.</summary>
    string Name { get; }

    /// <summary>What it can make.</summary>
    IReadOnlyList<MdevType> Types { get; }

    /// <summary>How many more of a type it can make.</summary>
    int Available(MdevType type);

    /// <summary>Makes a device: 0, or -errno. Its directory is there.</summary>
    int Probe(MdevType type, string name, DirectoryNode directory, out VfioDevice? device);

    /// <summary>The device is gone.</summary>
    void Remove(VfioDevice device);
}

/// <summary>Mediated devices (drivers/vfio/mdev): a write to a type's create makes one, a write to its remove takes it away.</summary>
internal sealed class MdevBus
{
    private readonly Lock _gate = new();
    private readonly FileTree _tree;
    private readonly VfioCore _vfio;
    private readonly HashSet<Guid> _names = [];

    public MdevBus(FileTree tree, VfioCore vfio)
    {
        _tree = tree;
        _vfio = vfio;
        tree.Directory("/sys/bus/mdev/devices");
        tree.Directory("/sys/bus/mdev/drivers");
        tree.Directory("/sys/class/mdev_bus");
    }

    /// <summary>mdev_register_parent.</summary>
    public void Register(IMdevParent parent)
    {
        DirectoryNode at = _tree.Directory($"/sys/devices/virtual/{parent.Name}/{parent.Name}");
        _tree.Link(_tree.Directory("/sys/class/mdev_bus"), parent.Name, at);
        _tree.Link(_tree.Directory($"/sys/class/{parent.Name}"), parent.Name, at);
        _tree.Directory($"/sys/bus/mdev/drivers/{parent.Name}");
        foreach (MdevType type in parent.Types)
        {
            DirectoryNode directory = _tree.Directory($"{at.Path}/mdev_supported_types/{parent.Name}-{type.Id}");
            _tree.Add(directory, "create", null, text => StoreCreate(parent, type, directory, text));
            _tree.Add(directory, "device_api", static () => "vfio-pci\n");
            _tree.Add(directory, "name", () => type.Name + "\n");
            _tree.Add(directory, "available_instances", () => parent.Available(type).ToString(CultureInfo.InvariantCulture) + "\n");
            _tree.Add(directory, "devices");
        }
    }

    private int StoreCreate(IMdevParent parent, MdevType type, DirectoryNode typeDirectory, string text)
    {
        // With or without a newline; guid_parse looks at the 36 characters only.
        if (text.Length is < 36 or > 37 || !Guid.TryParseExact(text.AsSpan(0, 36), "D", out Guid uuid))
        {
            return -Errno.EINVAL;
        }

        lock (_gate)
        {
            if (!_names.Add(uuid))
            {
                return -Errno.EEXIST;
            }

            string name = uuid.ToString("D");
            DirectoryNode at = _tree.Directory($"/sys/devices/virtual/{parent.Name}/{parent.Name}/{name}");
            int error = parent.Probe(type, name, at, out VfioDevice? device);
            if (error < 0)
            {
                _tree.Remove(at);
                _names.Remove(uuid);
                return error;
            }

            Show(parent, typeDirectory, at, name, uuid, device!);
            return 0;
        }
    }

    private void Show(IMdevParent parent, DirectoryNode typeDirectory, DirectoryNode at, string name, Guid uuid, VfioDevice device)
    {
        bool active = true;
        _tree.Link(at, "subsystem", _tree.Directory("/sys/bus/mdev"));
        _tree.Link(at, "driver", _tree.Directory($"/sys/bus/mdev/drivers/{parent.Name}"));
        _tree.Link(at, "mdev_type", typeDirectory);
        _tree.Link(_tree.Directory("/sys/bus/mdev/devices"), name, at);
        _tree.Link(_tree.Directory($"/sys/bus/mdev/drivers/{parent.Name}"), name, at);
        _tree.Link(_tree.Directory(typeDirectory.Path + "/devices"), name, at);
        _tree.Add(at, "uevent", () => $"DRIVER={parent.Name}\n", static _ => 0);
        _tree.Add(at, "remove", null, text =>
        {
            if (!PciSysfs.Number(text, out ulong value))
            {
                return -Errno.EINVAL;
            }

            lock (_gate)
            {
                if (value == 0)
                {
                    return 0;
                }

                if (!active)
                {
                    return -Errno.EAGAIN;
                }

                active = false;
                _tree.Remove(at, "remove");
            }

            // Waits until the user has let go; other devices can be made and removed meanwhile.
            _vfio.Unregister(device);
            parent.Remove(device);
            lock (_gate)
            {
                _tree.Remove(_tree.Directory(typeDirectory.Path + "/devices"), name);
                _tree.Remove(_tree.Directory($"/sys/bus/mdev/drivers/{parent.Name}"), name);
                _tree.Remove(_tree.Directory("/sys/bus/mdev/devices"), name);
                _tree.Remove(at);
                _names.Remove(uuid);
                return 0;
            }
        });
    }
}
