using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

// Who has which stream: one device each (struct arm_smmu_stream).
internal sealed partial class SmmuDriver
{
    private readonly SortedDictionary<ushort, string> _streams = [];

    /// <summary>A device takes its streams, all or none (arm_smmu_insert_master).</summary>
    /// <param name="name">The device as the log names it: its driver or bus, and its name.</param>
    /// <param name="ids">Its stream ids.</param>
    /// <returns>0; -ENODEV when one of them is another device's.</returns>
    internal int InsertMaster(string name, ushort[] ids)
    {
        string device = name[(name.LastIndexOf(' ') + 1)..];
        lock (_streams)
        {
            foreach (ushort id in ids.Order())
            {
                if (_streams.TryGetValue(id, out string? owner) && owner != device)
                {
                    _print?.Invoke($"{name}: Aliasing StreamID 0x{id:x} (from {owner}) unsupported, expect DMA to be broken");
                    return -Errno.ENODEV;
                }
            }

            foreach (ushort id in ids)
            {
                _streams[id] = device;
            }

            return 0;
        }
    }

    /// <summary>The device's streams are free again (arm_smmu_remove_master).</summary>
    internal void RemoveMaster(string device)
    {
        lock (_streams)
        {
            foreach (ushort id in _streams.Where(stream => stream.Value == device).Select(static stream => stream.Key).ToArray())
            {
                _streams.Remove(id);
            }
        }
    }
}
