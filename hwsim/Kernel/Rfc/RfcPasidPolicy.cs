namespace IommuFd.HwSim.Kernel;

/// <summary>The eight ways in which a device has PASIDs (section 1.6 of the proposal's notes).</summary>
internal enum RfcPasidType
{
    /// <summary>A physical device without PASIDs.</summary>
    Physical = 1,

    /// <summary>A software mediated device without PASIDs.</summary>
    Software,

    /// <summary>A mediated device with its default PASID and no others.</summary>
    Mediated,

    /// <summary>A physical device whose PASID table is the user's.</summary>
    PhysicalDelegated,

    /// <summary>A physical device whose PASID table is the kernel's: the user's number is the number on the wire.</summary>
    PhysicalPasid,

    /// <summary>A mediated device that shares its parent's PASID table: numbers are translated.</summary>
    MediatedPasid,

    /// <summary>As <see cref="PhysicalPasid"/>, with PASIDs in CPU instructions.</summary>
    PhysicalEnqcmd,

    /// <summary>As <see cref="MediatedPasid"/>, with PASIDs in CPU instructions: numbers are of the machine's one pool.</summary>
    MediatedEnqcmd,
}

/// <summary>How a device has PASIDs.</summary>
/// <param name="Type">Which way.</param>
/// <param name="Width">Bits of the user's PASIDs; 0 without.</param>
internal readonly record struct RfcPasidPolicy(RfcPasidType Type, uint Width)
{
    /// <summary>True when the user may have several spaces on the device: the PASID capability is there.</summary>
    public bool HasVpasids => Type >= RfcPasidType.PhysicalDelegated;

    /// <summary>PASID_DELEGATED: the PASID table is the user's.</summary>
    public bool IsDelegated => Type == RfcPasidType.PhysicalDelegated;

    /// <summary>True when the user's numbers are translated.</summary>
    public bool IsTranslated => Type is RfcPasidType.MediatedPasid or RfcPasidType.MediatedEnqcmd;

    /// <summary>PASID_CPU: PASIDs may be used in CPU instructions.</summary>
    public bool IsForCpu => Type is RfcPasidType.PhysicalEnqcmd or RfcPasidType.MediatedEnqcmd;

    /// <summary>PASID_CPU_VIRT: KVM must translate those.</summary>
    public bool IsTranslatedByCpu => Type == RfcPasidType.MediatedEnqcmd;

    /// <summary>The policy of the driver that has the device.</summary>
    public static RfcPasidPolicy Of(VfioDevice device)
    {
        switch (device)
        {
            case IRfcMediated mediated:
                return new RfcPasidPolicy(mediated.PasidType, mediated.PasidType is RfcPasidType.Mediated or RfcPasidType.Software ? 0u : 20);
            case EmulatedVfioDevice:
                return new RfcPasidPolicy(RfcPasidType.Software, 0);
        }

        IommuDevice iommu = device.Iommu;
        uint width = iommu.MaxPasids == 0 ? 0 : uint.Log2(iommu.MaxPasids);
        bool isDelegated = (iommu.Ops as IUserTables)?.UserTables(iommu).Any(static f => f.IsPasidTable) ?? false;
        bool hasDeferrableWrites = device is VfioPciDevice { Function.Topology.Properties: { } properties }
            && properties.GetValueOrDefault("dmwr") == "1";
        RfcPasidType type = width == 0 ? RfcPasidType.Physical
            : isDelegated ? RfcPasidType.PhysicalDelegated
            : hasDeferrableWrites ? RfcPasidType.PhysicalEnqcmd : RfcPasidType.PhysicalPasid;
        return new RfcPasidPolicy(type, width);
    }
}

/// <summary>A mediated device whose DMA its parent does.</summary>
internal interface IRfcMediated
{
    /// <summary>How it has PASIDs.</summary>
    RfcPasidType PasidType { get; }

    /// <summary>The physical device.</summary>
    IommuDevice Parent { get; }

    /// <summary>The physical PASID of its default space; 0 for a software mediated one.</summary>
    uint DefaultPasid { get; }

    /// <summary>The device under the files that it is bound to; the driver asks them for spaces and numbers.</summary>
    List<RfcDevice> Bound { get; }
}
