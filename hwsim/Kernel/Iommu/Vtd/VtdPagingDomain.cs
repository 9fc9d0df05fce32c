using IommuFd.HwSim.PageTables;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>A table that the kernel fills: second stage in legacy mode and where it is asked for, else first stage where the unit has it.</summary>
internal sealed class VtdPagingDomain : VtdDomain
{
    private readonly PageTable<VtdSecondStage>? _second;
    private readonly PageTable<X64>? _first;
    private readonly int _width;
    private readonly int _inputBits;
    private readonly List<VtdNestedDomain> _nested = [];
    private bool _forceCoherence;
    private bool _isTracking;

    private VtdPagingDomain(VtdOps owner, IommuDomainType type, VtdDriver driver, PageTable<VtdSecondStage>? second, PageTable<X64>? first,
        int width, int inputBits)
        : base(type, owner)
    {
        _second = second;
        _first = first;
        _width = width;
        _inputBits = inputBits;
        PageSizeBitmap = second != null ? driver.SecondStagePages : 0x20_1000UL | (driver.HasFirstStage1G ? 0x4000_0000UL : 0);

        // Of a canonical space only the lower half is used.
        ApertureEnd = (1UL << (first != null ? inputBits - 1 : inputBits)) - 1;
    }

    public override bool HasDirtyTracking => TracksDirty;

    /// <summary>Physical address of the root table.</summary>
    internal ulong Root => _second?.Root ?? _first!.Root;

    /// <summary>The address-width field that goes with the table.</summary>
    internal int AddressWidth => (_width - 30) / 9;

    /// <summary>Made to be the second stage under nested tables.</summary>
    internal bool IsNestParent { get; private init; }

    /// <summary>True while dirty bits are kept.</summary>
    internal bool IsTracking => _isTracking;

    private bool TracksDirty { get; init; }

    /// <summary>Makes an empty table (intel_iommu_domain_alloc_paging_flags).</summary>
    internal static int TryCreate(VtdOps owner, IommuDomainType type, VtdDriver driver, uint flags, out VtdPagingDomain? domain)
    {
        domain = null;
        const uint Parent = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_NEST_PARENT,
            Dirty = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
        const uint Pasid = (uint)iommufd_hwpt_alloc_flags.IOMMU_HWPT_ALLOC_PASID;
        var memory = driver.Unit.Memory;
        try
        {
            if ((flags & ~Pasid) == 0 && driver.HasFirstStage)
            {
                var bits = driver.Mgaw > 48 && driver.HasFirstStage5 ? 57 : 48;
                var first = new PageTable<X64>(memory,
                    X64.Geometry(bits, memory.Options.AddressBits, pageSizes: 0x20_1000UL | (driver.HasFirstStage1G ? 0x4000_0000UL : 0)));
                domain = new VtdPagingDomain(owner, type, driver, null, first, bits, Math.Min(bits, driver.Mgaw));
                return 0;
            }

            if ((flags & ~(Parent | Dirty | Pasid)) != 0 || !driver.HasSecondStage ||
                ((flags & Parent) != 0 && !driver.HasNesting) || ((flags & Dirty) != 0 && !driver.HasDirtyTracking))
            {
                return -Errno.EOPNOTSUPP;
            }

            var (width, input) = SecondStageWidth(driver);
            var features = (flags & Dirty) != 0 ? PageTableFeatures.DirtyTracking : default;
            var second = new PageTable<VtdSecondStage>(memory,
                VtdSecondStage.Geometry(width, memory.Options.AddressBits, features, driver.SecondStagePages));
            domain = new VtdPagingDomain(owner, type, driver, second, null, width, input) { IsNestParent = (flags & Parent) != 0,
                TracksDirty = (flags & Dirty) != 0 };
            return 0;
        }
        catch (InvalidOperationException)
        {
            // The arena is full.
            return -Errno.ENOMEM;
        }
    }

    public override int Map(ulong iova, ulong physical, ulong size, IommuProt prot)
    {
        var attributes = PageAttributes.None;
        attributes |= (prot & IommuProt.Read) != 0 ? PageAttributes.Read : 0;
        attributes |= (prot & IommuProt.Write) != 0 ? PageAttributes.Write : 0;
        lock (Gate)
        {
            int rc;
            if (_second != null)
            {
                // Erratum: a nesting parent must not hold read-only pages.
                attributes |= IsNestParent ? PageAttributes.Write : 0;
                attributes |= _forceCoherence ? PageAttributes.Coherent : 0;
                rc = _second.Map(iova, physical, size, attributes);
            }
            else
            {
                // A first-stage entry always permits reading.
                rc = _first!.Map(iova, physical, size, attributes | PageAttributes.Read | PageAttributes.User);
            }

            if (rc == 0)
            {
                Invalidate(iova, iova + size - 1, onlyCachingMode: true);
            }

            return rc;
        }
    }

    public override ulong Unmap(ulong iova, ulong size)
    {
        lock (Gate)
        {
            ulong done = 0;
            while (done < size)
            {
                var step = _second?.Unmap(iova + done, size - done) ?? _first!.Unmap(iova + done, size - done);
                if (step == 0)
                {
                    break;
                }

                done += step;
            }

            Invalidate(iova, iova + size - 1, onlyCachingMode: false);
            return done;
        }
    }

    public override ulong IovaToPhys(ulong iova)
    {
        lock (Gate)
        {
            ulong physical;
            return (_second != null ? _second.TryTranslate(iova, out physical) : _first!.TryTranslate(iova, out physical)) ? physical : 0;
        }
    }

    public override bool EnforceCacheCoherency()
    {
        lock (Gate)
        {
            foreach (var use in Units)
            {
                if (!use.Driver.HasSnoopControl)
                {
                    return false;
                }
            }

            return _forceCoherence = true;
        }
    }

    public override int SetDirtyTracking(bool enable)
    {
        lock (Gate)
        {
            _isTracking = enable;
            foreach (var use in Units)
            {
                foreach (var (device, pasid) in use.Devices)
                {
                    use.Driver.SetDirtyTracking(device, pasid, enable);
                }
            }

            foreach (var nested in _nested)
            {
                nested.ParentTracks(enable);
            }

            return 0;
        }
    }

    public override int ReadAndClearDirty(ulong iova, ulong length, bool noClear, DirtyBitmap? dirty)
    {
        const ulong Page = 4096, Piece = 64 * 64 * Page;
        Span<ulong> bits = stackalloc ulong[64];
        lock (Gate)
        {
            for (ulong done = 0; done < length; done += Piece)
            {
                bits.Clear();
                var at = iova + done;
                var rc = _second!.ReadDirty(at, ulong.Min(Piece, length - done), bits, Page, !noClear);
                if (rc != 0)
                {
                    return rc;
                }

                for (var i = 0; dirty != null && i < 64 * 64; i++)
                {
                    if ((bits[i / 64] & (1UL << (i % 64))) != 0)
                    {
                        dirty.Record(at + ((ulong)i * Page), Page);
                    }
                }
            }

            if (!noClear)
            {
                Invalidate(iova, iova + length - 1, onlyCachingMode: false);
            }

            return 0;
        }
    }

    public override void Free()
    {
        lock (Gate)
        {
            _second?.Dispose();
            _first?.Dispose();
        }
    }

    internal void AddNested(VtdNestedDomain nested)
    {
        lock (Gate)
        {
            _nested.Add(nested);
        }
    }

    internal void RemoveNested(VtdNestedDomain nested)
    {
        lock (Gate)
        {
            _nested.Remove(nested);
        }
    }

    /// <summary>paging_domain_compatible.</summary>
    internal int CompatibleWith(VtdDriver driver)
    {
        if (_first != null)
        {
            return !driver.HasFirstStage || (_width > 48 && !driver.HasFirstStage5)
                || ((PageSizeBitmap & 0x4000_0000) != 0 && !driver.HasFirstStage1G)
                ? -Errno.EINVAL
                : 0;
        }

        var fits = driver.HasSecondStage && driver.Mgaw >= _inputBits && (driver.Sagaw & (1 << AddressWidth)) != 0
            && (PageSizeBitmap & ~driver.SecondStagePages) == 0;
        fits &= (!TracksDirty || driver.HasDirtyTracking) && (!IsNestParent || driver.HasNesting) && (!_forceCoherence || driver.HasSnoopControl);
        return fits ? 0 : -Errno.EINVAL;
    }

    protected override int Compatible(VtdDriver driver) => CompatibleWith(driver);

    protected override int Install(VtdDriver driver, int domainId, IommuDevice device, uint pasid)
    {
        if (!driver.IsScalable)
        {
            return driver.SetContext(device.RequesterId, domainId, Root, AddressWidth);
        }

        var entry = _second != null
            ? new VtdDriver.PasidEntry(VtdDriver.Transfer.SecondStage, domainId, 0, 0, Root, AddressWidth, _isTracking)
            : new VtdDriver.PasidEntry(VtdDriver.Transfer.FirstStage, domainId, Root, _width > 48 ? 1UL << 2 : 0, 0, 2, false);
        return driver.SetPasid(device, pasid, entry);
    }

    // The widest table that CAP.MGAW and CAP.SAGAW both allow (compute_vasz_lg2_ss).
    private static (int Width, int Input) SecondStageWidth(VtdDriver driver) => driver switch
    {
        { Mgaw: > 48, Sagaw: >= 8 } => (57, Math.Min(57, driver.Mgaw)),
        { Mgaw: > 39, Sagaw: >= 4 } => ((driver.Sagaw & 4) != 0 ? 48 : 57, Math.Min(48, driver.Mgaw)),
        _ => ((driver.Sagaw & 2) != 0 ? 39 : (driver.Sagaw & 4) != 0 ? 48 : 57, Math.Min(39, driver.Mgaw)),
    };

    private void Invalidate(ulong first, ulong last, bool onlyCachingMode)
    {
        foreach (var use in Units)
        {
            if (_second != null)
            {
                if (!onlyCachingMode || use.Driver.HasCachingMode)
                {
                    use.Driver.InvalidatePages(use.Id, first, last);
                }
            }
            else if (!onlyCachingMode)
            {
                foreach (var (_, pasid) in use.Devices)
                {
                    use.Driver.InvalidatePasidPages(use.Id, pasid, first, last);
                }
            }

            // After the unit's own cache, from which a device could fill its cache again.
            for (var i = 0; !onlyCachingMode && i < use.Devices.Count; i++)
            {
                use.Driver.InvalidateDeviceTlb(use.Devices[i].Device, use.Devices[i].Pasid, first, last);
            }
        }

        foreach (var nested in _nested)
        {
            nested.ParentChanged(onlyCachingMode);
        }
    }
}
