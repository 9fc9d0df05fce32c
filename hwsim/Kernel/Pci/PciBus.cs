using System.Globalization;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The PCI bus type of the driver core (drivers/base/{bus,dd}.c, drivers/pci/pci-driver.c): who matches, who binds, and what a write to sysfs
/// answers.
/// </summary>
/// <remarks>Does not model: asynchronous and deferred probing, device links, runtime power management.</remarks>
internal sealed partial class PciBus
{
    private readonly Lock _gate = new();
    private readonly SortedDictionary<string, PciFunction> _functions = new(StringComparer.Ordinal);
    private readonly List<PciDriver> _drivers = [];

    /// <summary>A driver was bound to or unbound from a function.</summary>
    public event Action<PciFunction, PciDriver, bool>? BindingChanged;

    /// <summary>bus->dma_configure: called before a driver gets a function, which has the driver already.</summary>
    public Action<PciFunction>? DmaConfigure { get; set; }

    /// <summary>drivers_autoprobe: new functions look for a driver by themselves.</summary>
    public bool AutoProbe { get; set; } = true;

    /// <summary>The functions, in the order of their names.</summary>
    public PciFunction[] Functions
    {
        get
        {
            lock (_gate)
            {
                return [.. _functions.Values];
            }
        }
    }

    /// <summary>The drivers, in the order of their registration.</summary>
    public PciDriver[] Drivers
    {
        get
        {
            lock (_gate)
            {
                return [.. _drivers];
            }
        }
    }

    /// <summary>bus_find_device_by_name; a newline at the end does not count (sysfs_streq).</summary>
    public PciFunction? Find(string name)
    {
        lock (_gate)
        {
            return _functions.GetValueOrDefault(name.EndsWith('\n') ? name[..^1] : name);
        }
    }

    /// <summary>device_add without the probing that follows it.</summary>
    public void Add(PciFunction function)
    {
        lock (_gate)
        {
            _functions.Add(function.Name, function);
            function.IsRegistered = true;
        }
    }

    /// <summary>Takes a function off the bus; its driver lets go of it first, which may wait for its users.</summary>
    public void Remove(PciFunction function)
    {
        lock (function.DeviceLock)
        {
            Detach(function);
            lock (_gate)
            {
                _functions.Remove(function.Name);
                function.IsRegistered = false;
            }
        }
    }

    /// <summary>Registers a driver; functions are attached by <see cref="Attach"/>.</summary>
    public void Register(PciDriver driver)
    {
        lock (_gate)
        {
            _drivers.Add(driver);
        }
    }

    /// <summary>
    /// device_attach: the first driver that matches and does not fail takes a function that has none. A failing probe is no error: the next driver
    /// may try.
    /// </summary>
    /// <returns>0, or -errno when a driver may not have the function at all.</returns>
    public int Attach(PciFunction function)
    {
        lock (function.DeviceLock)
        {
            if (function.Driver is not null)
            {
                return 0;
            }

            foreach (PciDriver driver in Drivers)
            {
                if (!Match(driver, function))
                {
                    continue;
                }

                int result = Probe(driver, function);
                if (result <= 0)
                {
                    return result;
                }
            }

            return 0;
        }
    }

    /// <summary>Writing drivers_probe.</summary>
    public int StoreDriversProbe(string text)
    {
        PciFunction? function = Find(text);
        return function is null ? -Errno.ENODEV : Attach(function) < 0 ? -Errno.EINVAL : 0;
    }

    /// <summary>Writing a driver's bind.</summary>
    public int StoreBind(PciDriver driver, string text)
    {
        PciFunction? function = Find(text);
        if (function is null || !Match(driver, function))
        {
            return -Errno.ENODEV;
        }

        lock (function.DeviceLock)
        {
            return !function.IsRegistered ? -Errno.ENODEV : function.Driver is not null ? -Errno.EBUSY : -Math.Abs(Probe(driver, function));
        }
    }

    /// <summary>Writing a driver's unbind: waits until the driver has let go.</summary>
    public int StoreUnbind(PciDriver driver, string text)
    {
        PciFunction? function = Find(text);
        if (function is null || function.Driver != driver)
        {
            return -Errno.ENODEV;
        }

        lock (function.DeviceLock)
        {
            if (function.Driver == driver)
            {
                Detach(function);
            }

            return 0;
        }
    }

    /// <summary>Writing driver_override: up to the first newline; nothing clears it. One page at most, with the newline that reading adds.</summary>
    public static int StoreDriverOverride(PciFunction function, string text)
    {
        if (text.Length >= 4095)
        {
            return -Errno.EINVAL;
        }

        int end = text.IndexOfAny(['\n', '\0']);
        string name = end < 0 ? text : text[..end];
        lock (function.DeviceLock)
        {
            function.DriverOverride = name.Length == 0 ? null : name;
        }

        return 0;
    }

    /// <summary>
    /// Writing new_id: "vendor device [subvendor [subdevice [class [mask [data]]]]]" in hexadecimal; functions without a driver are offered.
    /// </summary>
    public int StoreNewId(PciDriver driver, string text)
    {
        uint[] fields = Fields(text, 7);
        if (fields.Length < 2)
        {
            return -Errno.EINVAL;
        }

        uint Field(int i, uint missing) => i < fields.Length ? fields[i] : missing;
        var id = new PciId(fields[0], fields[1], Field(2, PciId.Any), Field(3, PciId.Any), Field(4, 0), Field(5, 0));
        if (fields.Length != 7)
        {
            bool known = driver.DynamicIds.Concat(driver.Ids.Where(static known => !known.OverrideOnly))
                .Any(known => known.Matches(id.Vendor, id.Device, id.SubsystemVendor, id.SubsystemDevice, id.Class));
            if (known)
            {
                return -Errno.EEXIST;
            }
        }

        // Driver data must be that of an entry of the table; the tables here have none.
        if (Field(6, 0) != 0)
        {
            return -Errno.EINVAL;
        }

        lock (_gate)
        {
            driver.DynamicIds.Add(id);
        }

        foreach (PciFunction function in Functions)
        {
            lock (function.DeviceLock)
            {
                if (function.Driver is null && function.IsRegistered && Match(driver, function))
                {
                    _ = Probe(driver, function);
                }
            }
        }

        return 0;
    }

    /// <summary>Writing remove_id: takes the first dynamic id that equals the fields given.</summary>
    public int StoreRemoveId(PciDriver driver, string text)
    {
        uint[] fields = Fields(text, 6);
        if (fields.Length < 2)
        {
            return -Errno.EINVAL;
        }

        uint Field(int i, uint missing) => i < fields.Length ? fields[i] : missing;
        lock (_gate)
        {
            int found = driver.DynamicIds.FindIndex(id => id.Vendor == fields[0] && id.Device == fields[1]
                && (Field(2, PciId.Any) == PciId.Any || id.SubsystemVendor == fields[2])
                && (Field(3, PciId.Any) == PciId.Any || id.SubsystemDevice == fields[3])
                && ((id.Class ^ Field(4, 0)) & Field(5, 0)) == 0);
            if (found < 0)
            {
                return -Errno.ENODEV;
            }

            driver.DynamicIds.RemoveAt(found);
            return 0;
        }
    }

    // pci_match_device: driver_override first, then the dynamic ids, then the table.
    private bool Match(PciDriver driver, PciFunction function)
    {
        if (function.DriverOverride is { } only)
        {
            return only == driver.Name;
        }

        lock (_gate)
        {
            foreach (PciId id in driver.DynamicIds)
            {
                if (id.Matches(function))
                {
                    return true;
                }
            }
        }

        foreach (PciId id in driver.Ids)
        {
            if (!id.OverrideOnly && id.Matches(function))
            {
                return true;
            }
        }

        return false;
    }

    // really_probe: 0, a negative error that ends the search, or the driver's own error made positive.
    private int Probe(PciDriver driver, PciFunction function)
    {
        function.Driver = driver;
        DmaConfigure?.Invoke(function);
        IommuGroup? group = driver.ManagesDma ? null : function.Iommu.Group;
        int result = group?.UseDefaultDomain() ?? 0;
        if (result < 0)
        {
            function.Driver = null;
            return result;
        }

        result = driver.Probe(function);
        if (result < 0)
        {
            group?.UnuseDefaultDomain();
            function.Driver = null;
            function.DriverData = null;
            return -result;
        }

        BindingChanged?.Invoke(function, driver, true);
        return 0;
    }

    private void Detach(PciFunction function)
    {
        if (function.Driver is not { } driver)
        {
            return;
        }

        // The link under sysfs goes first: whoever waits for the driver's users sees a function that is on its way out.
        BindingChanged?.Invoke(function, driver, false);
        driver.Remove(function);
        if (!driver.ManagesDma)
        {
            function.Iommu.Group?.UnuseDefaultDomain();
        }

        function.Driver = null;
        function.DriverData = null;
    }

    private static uint[] Fields(string text, int maximum)
    {
        var fields = new List<uint>();
        foreach (string word in text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Take(maximum))
        {
            string digits = word.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? word[2..] : word;
            if (!uint.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint value))
            {
                break;
            }

            fields.Add(value);
        }

        return [.. fields];
    }
}
