using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A slice of an SMMU for a guest (struct arm_vsmmu): its stage 2 and VMID; the guest's stream table entries and commands are checked and forwarded.
/// </summary>
internal sealed unsafe class SmmuViommu(IommufdContext context, SmmuOps ops, IommuDevice device, HwptPaging parent)
    : IommufdViommu(context, (uint)iommu_viommu_type.IOMMU_VIOMMU_TYPE_ARM_SMMUV3, device.Unit!, parent)
{
    // The stream table entry fields that a guest may set.
    private const ulong AllowedWord0 = 0xF80F_FFFF_FFFF_FFFF;
    private const ulong AllowedWord1 = 3 | (3 << 2) | (3 << 4) | (3 << 6) | (1 << 27) | (3 << 28);

    private readonly SmmuDriver _driver = ops.DriverOf(device);

    internal SmmuDriver Driver => _driver;

    internal SmmuStage2Domain Stage2 => (SmmuStage2Domain)Parent.Domain!;

    internal override bool CanInvalidate => true;

    protected override bool CanAllocNested => true;

    internal override int Init(IommuUserData? data) => Parent.Domain is SmmuStage2Domain stage2 && stage2.Driver == _driver ? 0 : -Errno.EINVAL;

    protected override int DomainAllocNested(uint flags, in IommuUserData data, out IommuDomain? domain)
    {
        domain = null;
        if (flags != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        var rc = data.Copy((uint)iommu_hwpt_data_type.IOMMU_HWPT_DATA_ARM_SMMUV3, (uint)sizeof(iommu_hwpt_arm_smmuv3),
            out iommu_hwpt_arm_smmuv3 entry);
        if (rc != 0)
        {
            return rc;
        }

        var (word0, word1) = (entry.ste[0], entry.ste[1]);
        if ((word0 & 1) == 0)
        {
            (word0, word1) = (0, 0);
        }
        else
        {
            // EIO is kept for entries that a guest may not have: other fields, other configurations, another ATS mode than off and full.
            var config = word0 >> 1 & 7;
            var ats = word1 >> 28 & 3;
            if ((word0 & ~AllowedWord0) != 0 || (word1 & ~AllowedWord1) != 0 || config is not (0 or 4 or 5) || ats > 1)
            {
                return -Errno.EIO;
            }

            word1 &= ~(3UL << 28);
        }

        domain = new SmmuNestedDomain(ops, this, word0, word1);
        return 0;
    }

    internal override int CacheInvalidate(ref IommuUserDataArray array)
    {
        var count = array.EntryCount;
        array.EntryCount = 0;
        if (array.Type != (uint)iommu_hwpt_invalidate_data_type.IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 || count == 0)
        {
            return -Errno.EINVAL;
        }

        // All commands are copied before the first one is looked at.
        var commands = new iommu_viommu_arm_smmuv3_invalidate[count];
        for (uint i = 0; i < count; i++)
        {
            fixed (iommu_viommu_arm_smmuv3_invalidate* command = &commands[i])
            {
                var rc = UserCopy.StructFrom(
                    array.User, command, (nuint)sizeof(iommu_viommu_arm_smmuv3_invalidate),
                    array.Address + ((ulong)array.EntryLength * i), array.EntryLength);
                if (rc != 0)
                {
                    return rc;
                }
            }
        }

        // Commands go to the hardware in batches of 63; those of a batch that ends in a bad one are counted but were not issued.
        const int Batch = 63;
        var checkedCommands = new List<(ulong Low, ulong High)>(Batch);
        for (var i = 0; i < commands.Length; i++)
        {
            if (!TryConvert(commands[i].cmd[0], commands[i].cmd[1], out var low, out var high))
            {
                array.EntryCount = (uint)i;
                return -Errno.EIO;
            }

            checkedCommands.Add((low, high));
            if (checkedCommands.Count == Batch || i == commands.Length - 1)
            {
                _driver.Issue(checkedCommands);
                checkedCommands.Clear();
            }
        }

        array.EntryCount = count;
        return 0;
    }

    // The guest's command with its VMID and stream id replaced by the real ones; false for a command or field that it may not use.
    private bool TryConvert(ulong low, ulong high, out ulong outLow, out ulong outHigh)
    {
        const ulong Vmid = 0xffffUL << 32, Asid = 0xffffUL << 48, Stream = 0xffff_ffffUL << 32, Substream = 0xf_ffffUL << 12;
        const ulong Address = ~0xfffUL;
        var code = low & 0xff;
        (outLow, outHigh) = (low, high);
        ulong allowedLow = 0xff, allowedHigh = 0;
        switch (code)
        {
            case 0x30: // TLBI_NSNH_ALL becomes NH_ALL of the guest
                outLow = 0x10 | ((ulong)Stage2.Vmid << 32);
                outHigh = 0;
                break;
            case 0x12 or 0x13: // NH_VA, NH_VAA
                if (!IsRangeGood(low, high))
                {
                    return false;
                }

                allowedLow |= Vmid | (code == 0x12 ? Asid : 0) | (31UL << 12) | (31UL << 20);
                allowedHigh |= Address | 1 | (3 << 8) | (3 << 10);
                outLow = (low & ~Vmid) | ((ulong)Stage2.Vmid << 32);
                break;
            case 0x10 or 0x11: // NH_ALL, NH_ASID
                allowedLow |= Vmid | (code == 0x11 ? Asid : 0);
                outLow = (low & ~Vmid) | ((ulong)Stage2.Vmid << 32);
                break;
            case 0x40 when (_driver.Idr0 & 1 << 10) != 0: // ATC_INV
                if ((high & 63) > 52)
                {
                    return false;
                }

                allowedLow |= Stream | Substream | (1 << 11) | (1 << 9);
                allowedHigh |= Address | 63;
                break;
            case 0x05: // CFGI_CD
                allowedLow |= Stream | Substream;
                allowedHigh |= 1;
                break;
            case 0x06: // CFGI_CD_ALL
                allowedLow |= Stream;
                break;
            default:
                return false;
        }

        if ((low & ~allowedLow) != 0 || (high & ~allowedHigh) != 0)
        {
            return false;
        }

        if (code is 0x40 or 0x05 or 0x06)
        {
            if (FindDevice((uint)(low >> 32)) is not { } device)
            {
                return false;
            }

            outLow = (low & ~Stream) | ((ulong)device.RequesterId << 32);
        }

        return true;
    }

    // NUM, SCALE and TTL mean something only with a granule; all zero with a granule is reserved.
    private static bool IsRangeGood(ulong low, ulong high)
    {
        var range = (low & (31UL << 12 | 31UL << 20)) != 0;
        var ttl = high >> 8 & 3;
        return (high >> 10 & 3) switch
        {
            0 => !range && ttl == 0,
            2 when ttl == 1 => false,
            _ => range || ttl != 0,
        };
    }
}
