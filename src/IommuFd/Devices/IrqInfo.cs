namespace IommuFd;

/// <summary>The kinds of interrupts of a PCI device: VFIO's interrupt indexes.</summary>
public enum InterruptKind
{
    /// <summary>The INTx pin: one, level-triggered, masked by the kernel when it fires.</summary>
    Intx = 0,

    /// <summary>Message-signalled interrupts: 1, 2, 4, 8, 16 or 32.</summary>
    Msi = 1,

    /// <summary>MSI-X: up to 2048.</summary>
    Msix = 2,

    /// <summary>The device reported an uncorrectable PCIe error (AER).</summary>
    Error = 3,

    /// <summary>The host asks for the device back.</summary>
    Request = 4,
}

/// <summary>What interrupts of a kind can do. The values are those of VFIO_IRQ_INFO_*.</summary>
[Flags]
public enum InterruptAbilities
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>They signal an eventfd.</summary>
    EventFd = 1 << 0,

    /// <summary>They can be masked.</summary>
    Maskable = 1 << 1,

    /// <summary>They mask themselves when they fire and must be unmasked.</summary>
    AutoMasked = 1 << 2,

    /// <summary>Their number is fixed once enabled; clear: more can be added later.</summary>
    NoResize = 1 << 3,
}

/// <summary>VFIO_DEVICE_GET_IRQ_INFO: the interrupts of one kind.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Abilities">What they can do.</param>
/// <param name="Count">How many there are.</param>
public sealed record IrqInfo(InterruptKind Kind, InterruptAbilities Abilities, uint Count);
