using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>A guest's stream table entry on top of its stage 2 (struct arm_smmu_nested_domain).</summary>
internal sealed class SmmuNestedDomain(SmmuOps owner, SmmuViommu viommu, ulong word0, ulong word1) : IommuDomain(IommuDomainType.Nested, owner),
    ISmmuAttached
{
    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var driver = ((SmmuOps)Owner).DriverOf(device);
        if (driver != viommu.Driver)
        {
            return -Errno.EINVAL;
        }

        // An entry that is not valid aborts.
        var config = (word0 & 1) == 0 ? 0 : word0 >> 1 & 7;
        var rc = viommu.GetVirtualId(device, out var virtualId);
        if (rc != 0 && config == 5)
        {
            // Invalidations and events need the guest's id of the device.
            return rc;
        }

        int error;
        ReadOnlySpan<ulong> stage2 = viommu.Stage2.StreamEntry;
        switch (config)
        {
            case 5:
                error = driver.SetStream(device.RequesterId, [(word0 & ~(7UL << 1)) | (7UL << 1), stage2[1] | word1, stage2[2], stage2[3]]);
                break;
            case 4:
                error = driver.SetStream(device.RequesterId, stage2);
                break;
            default:
                error = driver.SetStream(device.RequesterId, [1, 0, 0, 0]);
                break;
        }

        if (error != 0)
        {
            return error;
        }

        (old as ISmmuAttached)?.Detach(device);
        driver.SetGuest(device.RequesterId, rc == 0 ? (viommu, (uint)virtualId) : null);
        return 0;
    }

    public void Detach(IommuDevice device)
    {
        viommu.Driver.SetGuest(device.RequesterId, null);
        viommu.Driver.InvalidateVmid(viommu.Stage2.Vmid);
    }
}
