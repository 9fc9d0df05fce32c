using IommuFd.HwSim.PageTables;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A domain that is a page table of one format: what the drivers for AMD-Vi, SMMUv3 and RISC-V have in common.</summary>
/// <typeparam name="TFormat">The format.</typeparam>
internal abstract class TableDomain<TFormat> : IommuDomain
    where TFormat : struct, IPageTableFormat
{
    private readonly bool _tracksDirty;

    protected TableDomain(IommuOps owner, IommuDomainType type, PageTable<TFormat> table, bool tracksDirty)
        : base(type, owner)
    {
        Table = table;
        PageSizeBitmap = table.PageSizes;
        _tracksDirty = tracksDirty;
    }

    /// <inheritdoc/>
    public override bool HasDirtyTracking => _tracksDirty;

    /// <summary>Held while the table or the list of devices changes.</summary>
    protected Lock Gate { get; } = new();

    /// <summary>The table.</summary>
    internal PageTable<TFormat> Table { get; }

    /// <summary>What a mapping's permissions are in this format.</summary>
    protected abstract PageAttributes AttributesOf(IommuProt prot);

    /// <summary>Invalidates a range in every unit that uses the table. Called with the gate held.</summary>
    protected abstract void Invalidate(ulong first, ulong last);

    /// <summary>Told when mapping has given the table another root. Called with the gate held.</summary>
    protected virtual void OnRootChanged()
    {
    }

    /// <inheritdoc/>
    public override int Map(ulong iova, ulong physical, ulong size, IommuProt prot)
    {
        lock (Gate)
        {
            var root = Table.Root;
            var rc = Table.Map(iova, physical, size, AttributesOf(prot));
            if (Table.Root != root)
            {
                OnRootChanged();
            }

            return rc;
        }
    }

    /// <inheritdoc/>
    public override ulong Unmap(ulong iova, ulong size)
    {
        lock (Gate)
        {
            ulong done = 0;
            while (done < size)
            {
                var step = Table.Unmap(iova + done, size - done);
                if (step == 0)
                {
                    break;
                }

                done += step;
            }

            Invalidate(iova, iova + size - 1);
            return done;
        }
    }

    /// <inheritdoc/>
    public override ulong IovaToPhys(ulong iova)
    {
        lock (Gate)
        {
            return Table.TryTranslate(iova, out var physical) ? physical : 0;
        }
    }

    /// <inheritdoc/>
    public override int ReadAndClearDirty(ulong iova, ulong length, bool noClear, DirtyBitmap? dirty)
    {
        if (!_tracksDirty)
        {
            return -Errno.EOPNOTSUPP;
        }

        lock (Gate)
        {
            var sink = new BitmapSink(dirty);
            var rc = Table.ReadDirty(iova, length, ref sink, clear: !noClear);
            if (!noClear)
            {
                // What was cached as written would not be marked again.
                Invalidate(iova, iova + length - 1);
            }

            return rc;
        }
    }

    /// <inheritdoc/>
    public override void Free()
    {
        lock (Gate)
        {
            Table.Dispose();
        }
    }

    private readonly struct BitmapSink(DirtyBitmap? bitmap) : IDirtySink
    {
        public void Dirty(ulong address, ulong length) => bitmap?.Record(address, length);
    }
}
