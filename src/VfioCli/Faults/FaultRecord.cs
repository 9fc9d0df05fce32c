namespace VfioCli.Faults;

/// <summary>What kind of thing went wrong, across all families.</summary>
internal enum FaultClass
{
    /// <summary>Nothing is mapped at the address.</summary>
    NotMapped,

    /// <summary>Something is mapped, but not for this kind of access.</summary>
    NotPermitted,

    /// <summary>The address is wider than the table or the unit.</summary>
    AddressTooWide,

    /// <summary>The unit knows nothing about this device (or PASID): no entry for it, or it is blocked.</summary>
    DeviceNotConfigured,

    /// <summary>The unit's own tables or the page table are malformed or unreadable.</summary>
    BrokenTable,

    /// <summary>An interrupt was refused.</summary>
    Interrupt,

    /// <summary>Address translation services or page requests went wrong.</summary>
    TranslationRequest,

    /// <summary>None of these.</summary>
    Other,
}

/// <summary>One fault, whatever family of IOMMU reported it.</summary>
/// <param name="Family"><c>VT-d</c>, <c>AMD-Vi</c>, <c>SMMUv3</c>, <c>RISC-V</c>.</param>
/// <param name="Device">The PCI address, or the stream or device id as the line has it; null when it names none.</param>
/// <param name="Access"><c>read</c>, <c>write</c>, <c>execute</c>, or null.</param>
/// <param name="Address">The IOVA, or null.</param>
/// <param name="Pasid">The PASID, or null.</param>
/// <param name="Code">The reason's number or name, as the data book has it.</param>
/// <param name="Class">What kind of thing went wrong.</param>
/// <param name="Reason">The reason in words.</param>
internal sealed record FaultRecord(string Family, string? Device, string? Access, ulong? Address, uint? Pasid, string Code,
    FaultClass Class, string Reason)
{
    /// <summary>What most likely stands behind it, and what to do.</summary>
    public string Advice => Class switch
    {
        FaultClass.NotMapped when Address is < 0x1000 =>
            "The address is close to 0: the driver most likely gave the device a descriptor or ring with an empty address field.",
        FaultClass.NotMapped when Address is >= 0xfee00000 and < 0xfef00000 =>
            "The address is the interrupt window of x86: the device sends an interrupt message as a plain write; is MSI programmed through VFIO?",
        FaultClass.NotMapped =>
            "Nothing is mapped there: the mapping was removed while the device still used it, the driver gave the device a process address instead"
                + " of the IOVA, or the length ran over the end.",
        FaultClass.NotPermitted =>
            $"The mapping exists but does not allow a {Access ?? "transfer like this"}: map it"
                + $" {(Access == "write" ? "with write access" : "with the access that the device needs")}, or find out why the device does it.",
        FaultClass.AddressTooWide =>
            "The address does not fit the table or the unit: take IOVAs inside the permitted ranges (`vfio attach` prints them), not"
                + " process addresses.",
        FaultClass.DeviceNotConfigured =>
            "The unit has no translation for this device: it is in block-DMA (bound but not attached), it has been detached while it still works, or"
                + " its requests carry another requester id (an alias, a bridge).",
        FaultClass.BrokenTable =>
            "The IOMMU could not read its own tables or found reserved bits set: a bug of the kernel, or of whoever builds a nested table, or memory"
                + " that something else has overwritten.",
        FaultClass.Interrupt =>
            "The interrupt does not match the interrupt remapping table: the device sends what was programmed before VFIO took it; reset it, and"
                + " program interrupts through VFIO only.",
        FaultClass.TranslationRequest =>
            "The device's own translation cache (ATS, PRI) and the IOMMU disagree: is ATS on for this device and table, and was the cache"
                + " invalidated after the unmap?",
        _ => "The data book of the IOMMU has the details.",
    };
}
