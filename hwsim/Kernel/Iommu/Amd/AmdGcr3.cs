namespace IommuFd.HwSim.Kernel;

/// <summary>A device's GCR3 table: which v2 table each of its PASIDs has (struct gcr3_tbl_info).</summary>
internal sealed class AmdGcr3
{
    private readonly PhysicalMemory _memory;
    private readonly AmdDriver _driver;
    private readonly IommuDevice _device;

    private AmdGcr3(IommuDevice device, AmdDriver driver, ulong root)
    {
        _device = device;
        _driver = driver;
        _memory = driver.Unit.Memory;
        Root = root;
    }

    /// <summary>Physical address of the table.</summary>
    public ulong Root { get; }

    /// <summary>The device table entry points here.</summary>
    public bool IsInstalled { get; set; }

    /// <summary>The domain id in the device table entry: the unit tags all PASIDs of the device with it.</summary>
    public int DomainId { get; set; }

    /// <summary>The table of a device, made at first use and kept with the device.</summary>
    public static bool Of(IommuDevice device, AmdDriver driver, out AmdGcr3 gcr3)
    {
        if (device.DriverData is AmdGcr3 known)
        {
            gcr3 = known;
            return true;
        }

        var root = driver.Unit.Memory.Allocate();
        gcr3 = new AmdGcr3(device, driver, root);
        if (root == 0)
        {
            return false;
        }

        device.DriverData = gcr3;
        return true;
    }

    /// <summary>Gives a PASID its table; 0 takes it away.</summary>
    /// <returns>False when there is no memory for the levels between.</returns>
    public bool Set(uint pasid, ulong table)
    {
        var at = Root;
        for (var level = _driver.GcrLevels - 1; level > 0; level--)
        {
            var slot = at + ((pasid >> (9 * level) & 0x1ff) * 8);
            _memory.Read64(slot, out var next);
            if ((next & 1) == 0)
            {
                next = _memory.Allocate();
                if (next == 0)
                {
                    return false;
                }

                next |= 1;
                _memory.Write64(slot, next);
            }

            at = next & ~0xfffUL;
        }

        _memory.Write64(at + ((pasid & 0x1ff) * 8), table == 0 ? 0 : table | 1);
        return true;
    }

    /// <summary>Has the entry of a PASID read again: the device's entry, and the pages of the PASID.</summary>
    public void Flush(uint pasid)
    {
        _driver.InvalidateEntry(_device.RequesterId);
        _driver.InvalidatePages(DomainId, pasid, 0, ulong.MaxValue);
    }
}
