namespace IommuFd.HwSim.Kernel;

/// <summary>A device's context descriptors (struct arm_smmu_ctx_desc_cfg): one, or a two-level table for its substreams.</summary>
internal sealed class SmmuDescriptors
{
    private const int LeafLg2 = 6;
    private readonly PhysicalMemory _memory;

    private SmmuDescriptors(PhysicalMemory memory, ulong root, int bits)
    {
        _memory = memory;
        Root = root;
        Bits = bits;
    }

    /// <summary>Physical address of the descriptor or of the first level.</summary>
    public ulong Root { get; }

    /// <summary>log2 of the substreams; 0 for one descriptor.</summary>
    public int Bits { get; }

    /// <summary>The table of a device, made at first use and kept with the device.</summary>
    public static SmmuDescriptors? Of(IommuDevice device, SmmuDriver driver)
    {
        if (device.DriverData is SmmuDescriptors known)
        {
            return known;
        }

        var bits = device.MaxPasids == 0 ? 0 : Math.Min(driver.SubstreamBits, (int)uint.Log2(device.MaxPasids));
        var root = driver.Unit.Memory.Allocate(bits <= LeafLg2 ? LeafLg2 + 6 : Math.Max(12, bits - LeafLg2 + 3));
        if (root == 0)
        {
            return null;
        }

        var made = new SmmuDescriptors(driver.Unit.Memory, root, bits);
        device.DriverData = made;
        return made;
    }

    /// <summary>Writes a descriptor, its valid word last; zeros take it away.</summary>
    /// <returns>False when there is no memory for a leaf.</returns>
    public bool Set(uint substream, ulong word0, ulong ttb, ulong mair)
    {
        var at = Root + (substream * 64UL);
        if (Bits > LeafLg2)
        {
            var slot = Root + ((substream >> LeafLg2) * 8UL);
            _memory.Read64(slot, out var leaf);
            if ((leaf & 1) == 0)
            {
                leaf = _memory.Allocate();
                if (leaf == 0)
                {
                    return false;
                }

                leaf |= 1;
                _memory.Write64(slot, leaf);
            }

            at = (leaf & ~0xfffUL) + ((substream & ((1u << LeafLg2) - 1)) * 64UL);
        }

        _memory.Write64(at + 8, ttb);
        _memory.Write64(at + 24, mair);
        _memory.Write64(at, word0);
        return true;
    }
}
