namespace IommuFd.HwSim.Kernel;

/// <summary>A device of the mock driver (struct mock_dev): alone in its group, and without DMA.</summary>
internal sealed class MockDevice : IommuDevice
{
    internal const int CacheCount = 4;
    private const uint PasidCount = 1 << 20;

    internal MockDevice(MockOps ops, int number, uint flags)
        : base($"iommufd_mock{number}", ops, ops)
    {
        Flags = flags;
        IsPci = false;

        // A width of no bits still leaves PASID 0.
        MaxPasids = (flags & iommu_test_cmd.MOCK_FLAGS_DEVICE_PASID) != 0 ? PasidCount : 1;
        HasIsolatedMsi = false;
        Array.Fill(Cache, iommu_test_cmd.IOMMU_TEST_DEV_CACHE_DEFAULT);
    }

    internal override bool IsMock => true;

    internal uint Flags { get; }

    /// <summary>What invalidations through a virtual IOMMU reach.</summary>
    internal uint[] Cache { get; } = new uint[CacheCount];

    /// <summary>Guards the two below.</summary>
    internal Lock ViommuLock { get; } = new();

    internal MockViommu? Viommu { get; set; }

    internal ulong VirtualId { get; set; }

    /// <summary>Set by the first use of PASID 1024, so that the second one fails.</summary>
    internal bool FakeError { get; set; }

    /// <summary>Domains with a fault handler that are attached.</summary>
    internal int FaultUsers { get; set; }
}
