using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd;

/// <content>Telling the IOMMU that the table changed.</content>
public sealed partial class UserTableSpace
{
    private const ulong Page = 4096, MostArmCommands = 64;

    /// <summary>A range of the table changed: caches of the IOMMU and of the devices forget it.</summary>
    /// <param name="address">The first address.</param>
    /// <param name="length">Bytes; whole pages around the range are forgotten.</param>
    /// <param name="pasid">In a PASID table, whose page table it is; null for all, and for a page table.</param>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void Invalidate(ulong address, ulong length, uint? pasid = null)
    {
        ulong first = address & ~(Page - 1), pages = (((address - first) + length - 1) / Page) + 1;
        if (_ioasid is { } ioasid)
        {
            Context.InvalidateIoasid(new iommu_ioasid_invalidate
            {
                ioasid = ioasid, cache = Rfc.IOMMU_CACHE_INV_TYPE_IOTLB | Rfc.IOMMU_CACHE_INV_TYPE_DEV_IOTLB,
                granularity = (uint)iommu_inv_granularity.IOMMU_INV_GRANU_ADDR,
                flags = pasid is null ? 0 : Rfc.IOMMU_IOASID_INVALIDATE_VPASID, vpasid = pasid ?? 0, addr = first,
                granule_size = Page, nb_granules = pages,
            });
            return;
        }

        Mainline(vtd: new iommu_hwpt_vtd_s1_invalidate { addr = first, npages = pages }, arm: commands =>
        {
            if (pages > MostArmCommands)
            {
                commands.Add(Command(0x10, 0)); // CMD_TLBI_NH_ALL
                return;
            }

            for (ulong i = 0; i < pages; i++)
            {
                commands.Add(Command(0x13, first + (i * Page))); // CMD_TLBI_NH_VAA: of every ASID
            }
        });
    }

    /// <summary>The whole table changed.</summary>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void InvalidateAll()
    {
        if (_ioasid is { } ioasid)
        {
            Context.InvalidateIoasid(new iommu_ioasid_invalidate
            {
                ioasid = ioasid, cache = Rfc.IOMMU_CACHE_INV_TYPE_IOTLB | (Table.IsPasidTable ? Rfc.IOMMU_CACHE_INV_TYPE_PASID : 0),
                granularity = (uint)iommu_inv_granularity.IOMMU_INV_GRANU_DOMAIN,
            });
            return;
        }

        Mainline(vtd: new iommu_hwpt_vtd_s1_invalidate { npages = ulong.MaxValue }, arm: commands =>
        {
            commands.AddRange(Devices().Select(static device => Command(0x06 | ((ulong)NestBase.VirtualId(device) << 32), 0))); // CMD_CFGI_CD_ALL
            commands.Add(Command(0x10, 0));
        });
    }

    /// <summary>The entry of a PASID in a PASID table changed.</summary>
    /// <exception cref="InvalidOperationException">The table is no PASID table.</exception>
    /// <exception cref="IommuFdException">The kernel refused.</exception>
    public void InvalidatePasid(uint pasid)
    {
        if (!Table.IsPasidTable)
        {
            throw new InvalidOperationException($"A table of the format {Table.Format} has no PASIDs.");
        }

        if (_ioasid is { } ioasid)
        {
            Context.InvalidateIoasid(new iommu_ioasid_invalidate
            {
                ioasid = ioasid, cache = Rfc.IOMMU_CACHE_INV_TYPE_PASID | Rfc.IOMMU_CACHE_INV_TYPE_IOTLB,
                granularity = (uint)iommu_inv_granularity.IOMMU_INV_GRANU_PASID,
                flags = Rfc.IOMMU_IOASID_INVALIDATE_VPASID, vpasid = pasid,
            });
            return;
        }

        Mainline(vtd: new iommu_hwpt_vtd_s1_invalidate { npages = ulong.MaxValue }, arm: commands =>
        {
            // CMD_CFGI_CD, leaf
            commands.AddRange(Devices().Select(device => Command(0x05 | ((ulong)pasid << 12) | ((ulong)NestBase.VirtualId(device) << 32), 1)));
            commands.Add(Command(0x10, 0));
        });
    }

    /// <summary>Invalidation requests in the words of the IOMMU, for every nested table of the space (mainline).</summary>
    /// <param name="type">Which struct the entries are.</param>
    /// <param name="entries">iommu_hwpt_vtd_s1_invalidate and its kin.</param>
    /// <exception cref="IommuFdException">An entry is wrong, or the kernel has no such requests.</exception>
    public void InvalidateRaw<T>(iommu_hwpt_invalidate_data_type type, params ReadOnlySpan<T> entries)
        where T : unmanaged
    {
        if (_ioasid is not null)
        {
            throw Failure.Because(
                nameof(Rfc.IOMMU_INVALIDATE_CACHE), Errno.EOPNOTSUPP, FailureCause.NotSupported,
                "the proposal's kernel takes invalidations in its own words only", "Use Invalidate(address, length).");
        }

        foreach (HwptNested table in Tables())
        {
            _ = table.Invalidate(type, entries);
        }
    }

    private void Mainline(iommu_hwpt_vtd_s1_invalidate vtd, Action<List<iommu_viommu_arm_smmuv3_invalidate>> arm)
    {
        switch (Table.Format)
        {
            case UserTableFormat.VtdFirstStage:
                InvalidateRaw(iommu_hwpt_invalidate_data_type.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, vtd);
                break;
            case UserTableFormat.ArmContextDescriptors:
                List<iommu_viommu_arm_smmuv3_invalidate> commands = [];
                arm(commands);
                foreach (BoundDevice device in Devices())
                {
                    _ = _parent.NestBaseFor(device, withVirtualIommu: true).VirtualIommu!.Invalidate(
                        iommu_hwpt_invalidate_data_type.IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
                        System.Runtime.InteropServices.CollectionsMarshal.AsSpan(commands));
                }

                break;
            default:
                throw Failure.Because(
                    nameof(Iommufd.IOMMU_HWPT_INVALIDATE), Errno.EOPNOTSUPP, FailureCause.NotSupported,
                    $"how tables of the format {Table.Format} are invalidated is not known here",
                    "Give the requests in the kernel's words: InvalidateRaw(type, entries).");
        }
    }

    private static iommu_viommu_arm_smmuv3_invalidate Command(ulong low, ulong high)
    {
        iommu_viommu_arm_smmuv3_invalidate command = default;
        (command.cmd[0], command.cmd[1]) = (low, high);
        return command;
    }

    private HwptNested[] Tables()
    {
        lock (_gate)
        {
            return [.. _tables.Values];
        }
    }

    private BoundDevice[] Devices()
    {
        lock (_gate)
        {
            return [.. _tables.Keys];
        }
    }
}
