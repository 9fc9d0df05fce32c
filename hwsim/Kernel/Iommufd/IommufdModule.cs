namespace IommuFd.HwSim.Kernel;

/// <summary>iommufd of one machine: its parameters and what all of its open files share.</summary>
/// <param name="memory">The machine's physical memory, into which user pages are pinned.</param>
public sealed class IommufdModule(PhysicalMemory memory)
{
    /// <summary>The machine's physical memory.</summary>
    public PhysicalMemory Memory { get; } = memory;

    /// <summary>Module parameter allow_unsafe_interrupts: bind devices whose interrupts the platform cannot isolate.</summary>
    public bool AllowUnsafeInterrupts { get; set; }

    /// <summary>CONFIG_IOMMUFD_NOIOMMU and CONFIG_VFIO_NOIOMMU: devices without an IOMMU can be bound.</summary>
    public bool HasNoIommu { get; init; } = true;

    /// <summary>CONFIG_IOMMUFD_TEST: IOMMU_TEST_CMD is there.</summary>
    public bool HasTestCommands { get; init; } = true;

    /// <summary>Opens /dev/iommu.</summary>
    public IommufdContext Open() => new(this);

    // Groups of mock devices are apart from those of the machine.
    private int _mockGroup = 1 << 20;
    private int _mockNumber = -1;

    internal MockOps MockOps { get; } = new();

    internal int NextMockGroup() => Interlocked.Increment(ref _mockGroup);

    internal int NextMockNumber() => Interlocked.Increment(ref _mockNumber);
}
