using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>What all domains of the mock driver do when a device or a PASID is attached.</summary>
internal abstract class MockDomain(IommuDomainType type, MockOps owner) : IommuDomain(type, owner)
{
    // The PASID whose second attachment fails, so that the way back can be tested.
    private const uint ReservedPasid = iommu_test_cmd.IOMMU_TEST_PASID_RESERVED;

    public override bool CanAttachPasid => true;

    public override int AttachDevice(IommuDevice device, IommuDomain? old)
    {
        var mock = (MockDevice)device;
        if (HasDirtyTracking && (mock.Flags & iommu_test_cmd.MOCK_FLAGS_DEVICE_NO_DIRTY) != 0)
        {
            return -Errno.EINVAL;
        }

        var viommu = (this as MockNestedDomain)?.Viommu;
        ulong virtualId = 0;
        if (viommu != null)
        {
            var rc = viommu.GetVirtualId(device, out virtualId);
            if (rc != 0)
            {
                return rc;
            }
        }

        lock (mock.ViommuLock)
        {
            if (viommu != mock.Viommu)
            {
                mock.Viommu = viommu;
                mock.VirtualId = virtualId;
            }
        }

        CountFaultUsers(mock, old);
        return 0;
    }

    public override int SetDevicePasid(IommuDevice device, uint pasid, IommuDomain? old)
    {
        var mock = (MockDevice)device;
        if (pasid == ReservedPasid)
        {
            var fails = mock.FakeError;
            mock.FakeError = Type != IommuDomainType.Blocked && !fails;
            if (Type != IommuDomainType.Blocked && fails)
            {
                return -Errno.ENOMEM;
            }
        }

        CountFaultUsers(mock, old);
        return 0;
    }

    private void CountFaultUsers(MockDevice device, IommuDomain? old)
    {
        device.FaultUsers += IopfHandler != null ? 1 : 0;
        device.FaultUsers -= old?.IopfHandler != null ? 1 : 0;
    }
}

/// <summary>No DMA; also what mock devices have before they are bound.</summary>
internal sealed class MockBlockedDomain(MockOps owner) : MockDomain(IommuDomainType.Blocked, owner);

/// <summary>A user's table: four words that invalidations clear.</summary>
internal sealed class MockNestedDomain : MockDomain
{
    internal const int IotlbCount = 4;

    internal MockNestedDomain(MockOps owner, MockViommu? viommu, uint iotlb)
        : base(IommuDomainType.Nested, owner)
    {
        Viommu = viommu;
        Array.Fill(Iotlb, iotlb);
    }

    internal MockViommu? Viommu { get; }

    internal uint[] Iotlb { get; } = new uint[IotlbCount];

    public override bool CanInvalidateUser => true;

    public override int CacheInvalidateUser(ref IommuUserDataArray array)
    {
        var rc = array.Type == iommu_test_cmd.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST ? 0 : -Errno.EINVAL;
        uint done = 0;
        for (; rc == 0 && done < array.EntryCount; done++)
        {
            rc = array.Copy(iommu_test_cmd.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST, done, 8, out iommu_hwpt_invalidate_selftest request);
            if (rc == 0 && (request.flags & ~iommu_test_cmd.IOMMU_TEST_INVALIDATE_FLAG_ALL) != 0)
            {
                rc = -Errno.EOPNOTSUPP;
            }

            if (rc == 0 && request.iotlb_id >= IotlbCount)
            {
                rc = -Errno.EINVAL;
            }

            if (rc != 0)
            {
                break;
            }

            if ((request.flags & iommu_test_cmd.IOMMU_TEST_INVALIDATE_FLAG_ALL) != 0)
            {
                Array.Clear(Iotlb);
            }
            else
            {
                Iotlb[request.iotlb_id] = 0;
            }
        }

        array.EntryCount = done;
        return rc;
    }
}
