namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The driver that iommufd itself plays for devices without an IOMMU (drivers/iommu/iommufd/hwpt_noiommu.c): its tables translate nothing, they
/// answer which physical address an IOVA stands for.
/// </summary>
/// <remarks>Does not model: the table's format, which no hardware ever reads.</remarks>
internal sealed class NoIommuOps : IommuOps
{
    public override bool Capable(IommuDevice device, IommuCapability capability) => false;

    public override int DomainAllocPaging(IommuDevice device, uint flags, IommuUserData? data, out IommuDomain? domain)
    {
        domain = null;
        if (flags != 0 || data != null)
        {
            return -Native.Errno.EOPNOTSUPP;
        }

        domain = new NoIommuDomain(this);
        return 0;
    }

    public override IommuDomain DomainAllocDefault(IommuDevice device) => new NoIommuDomain(this);
}

/// <summary>A list of what is mapped where.</summary>
internal sealed class NoIommuDomain : IommuDomain
{
    private readonly Lock _lock = new();

    // By the first IOVA.
    private readonly List<Run> _runs = [];

    internal NoIommuDomain(IommuOps owner)
        : base(IommuDomainType.Unmanaged, owner) => PageSizeBitmap = ~0xfffUL;

    private readonly record struct Run(ulong Iova, ulong Last, ulong Physical);

    public override int AttachDevice(IommuDevice device, IommuDomain? old) => 0;

    public override int Map(ulong iova, ulong physical, ulong size, IommuProt prot)
    {
        lock (_lock)
        {
            _runs.Insert(Find(iova), new Run(iova, iova + size - 1, physical));
            return 0;
        }
    }

    public override ulong Unmap(ulong iova, ulong size)
    {
        lock (_lock)
        {
            var last = iova + size - 1;
            var at = Find(iova);
            while (at < _runs.Count && _runs[at].Iova <= last)
            {
                var run = _runs[at];
                _runs.RemoveAt(at);
                if (run.Iova < iova)
                {
                    _runs.Insert(at++, run with { Last = iova - 1 });
                }

                if (run.Last > last)
                {
                    _runs.Insert(at++, new Run(last + 1, run.Last, run.Physical + (last + 1 - run.Iova)));
                }
            }

            return size;
        }
    }

    public override ulong IovaToPhys(ulong iova)
    {
        lock (_lock)
        {
            var at = Find(iova);
            return at < _runs.Count && _runs[at].Iova <= iova ? _runs[at].Physical + (iova - _runs[at].Iova) : 0;
        }
    }

    // The first run that ends at or above an IOVA.
    private int Find(ulong iova)
    {
        int low = 0, high = _runs.Count;
        while (low < high)
        {
            var middle = (low + high) >>> 1;
            if (_runs[middle].Last < iova)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
