using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A dma-buf: a piece of a device's memory as a file, which an iommufd can map (struct dma_buf, as vfio-pci exports BARs).</summary>
/// <param name="physical">Physical address of its first byte.</param>
/// <param name="size">Bytes.</param>
public class SimulatedDmaBuf(ulong physical, ulong size) : SimulatedFile
{
    private readonly Lock _lock = new();
    private readonly List<IoptPages> _importers = [];
    private bool _isRevoked;

    /// <summary>Physical address of its first byte.</summary>
    public ulong Physical { get; } = physical;

    /// <summary>Bytes.</summary>
    public ulong Size { get; } = size;

    /// <summary>False when it has several pieces, which iommufd cannot map.</summary>
    internal bool IsContiguous { get; init; } = true;

    /// <summary>Told when the last descriptor and the last importer are gone.</summary>
    internal Action<SimulatedDmaBuf>? Released { get; init; }

    /// <summary>The exporter takes the memory back: importers lose their mappings, which stay lost.</summary>
    public void Revoke()
    {
        IoptPages[] importers;
        lock (_lock)
        {
            _isRevoked = true;
            importers = [.. _importers];
        }

        foreach (var pages in importers)
        {
            lock (pages)
            {
                pages.DmaBuf?.Revoke();
            }
        }
    }

    /// <summary>The exporter gives the memory out again: it can be mapped anew.</summary>
    public void Restore()
    {
        lock (_lock)
        {
            _isRevoked = false;
        }
    }

    /// <summary>An importer comes: -ENODEV while the memory is taken back, -EOPNOTSUPP for several pieces.</summary>
    internal int Attach(IoptPages pages)
    {
        lock (_lock)
        {
            if (_isRevoked)
            {
                return -Errno.ENODEV;
            }

            if (!IsContiguous)
            {
                return -Errno.EOPNOTSUPP;
            }

            _importers.Add(pages);
            return 0;
        }
    }

    internal void Detach(IoptPages pages)
    {
        lock (_lock)
        {
            _importers.Remove(pages);
        }
    }

    /// <inheritdoc/>
    protected override void Release() => Released?.Invoke(this);
}
