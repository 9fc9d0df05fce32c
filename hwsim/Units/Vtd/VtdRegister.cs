namespace IommuFd.HwSim.Units;

/// <summary>Offsets of VT-d's remapping registers (data book section 11.4), by its names without the suffix _REG.</summary>
public static class VtdRegister
{
    /// <summary>Version.</summary>
    public const int VER = 0x00;

    /// <summary>Capability.</summary>
    public const int CAP = 0x08;

    /// <summary>Extended capability.</summary>
    public const int ECAP = 0x10;

    /// <summary>Global command (write only).</summary>
    public const int GCMD = 0x18;

    /// <summary>Global status.</summary>
    public const int GSTS = 0x1c;

    /// <summary>Root table address; bits 11:10 choose the mode (0 legacy, 1 scalable, 3 abort).</summary>
    public const int RTADDR = 0x20;

    /// <summary>Context command: register-based context-cache invalidation.</summary>
    public const int CCMD = 0x28;

    /// <summary>Fault status.</summary>
    public const int FSTS = 0x34;

    /// <summary>Fault event control.</summary>
    public const int FECTL = 0x38;

    /// <summary>Fault event data.</summary>
    public const int FEDATA = 0x3c;

    /// <summary>Fault event address.</summary>
    public const int FEADDR = 0x40;

    /// <summary>Fault event upper address.</summary>
    public const int FEUADDR = 0x44;

    /// <summary>Advanced fault log (not offered: CAP.AFL = 0).</summary>
    public const int AFLOG = 0x58;

    /// <summary>Protected memory enable.</summary>
    public const int PMEN = 0x64;

    /// <summary>Protected low-memory base.</summary>
    public const int PLMBASE = 0x68;

    /// <summary>Protected low-memory limit.</summary>
    public const int PLMLIMIT = 0x6c;

    /// <summary>Protected high-memory base.</summary>
    public const int PHMBASE = 0x70;

    /// <summary>Protected high-memory limit.</summary>
    public const int PHMLIMIT = 0x78;

    /// <summary>Invalidation queue head.</summary>
    public const int IQH = 0x80;

    /// <summary>Invalidation queue tail.</summary>
    public const int IQT = 0x88;

    /// <summary>Invalidation queue address.</summary>
    public const int IQA = 0x90;

    /// <summary>Invalidation completion status.</summary>
    public const int ICS = 0x9c;

    /// <summary>Invalidation event control.</summary>
    public const int IECTL = 0xa0;

    /// <summary>Invalidation event data.</summary>
    public const int IEDATA = 0xa4;

    /// <summary>Invalidation event address.</summary>
    public const int IEADDR = 0xa8;

    /// <summary>Invalidation event upper address.</summary>
    public const int IEUADDR = 0xac;

    /// <summary>Invalidation queue error record.</summary>
    public const int IQERCD = 0xb0;

    /// <summary>Interrupt remapping table address.</summary>
    public const int IRTA = 0xb8;

    /// <summary>Page request queue head.</summary>
    public const int PQH = 0xc0;

    /// <summary>Page request queue tail.</summary>
    public const int PQT = 0xc8;

    /// <summary>Page request queue address.</summary>
    public const int PQA = 0xd0;

    /// <summary>Page request status.</summary>
    public const int PRS = 0xdc;

    /// <summary>Page request event control.</summary>
    public const int PECTL = 0xe0;

    /// <summary>Page request event data.</summary>
    public const int PEDATA = 0xe4;

    /// <summary>Page request event address.</summary>
    public const int PEADDR = 0xe8;

    /// <summary>Page request event upper address.</summary>
    public const int PEUADDR = 0xec;

    /// <summary>Invalidate address (at 16 * ECAP.IRO).</summary>
    public const int IVA = 0xf0;

    /// <summary>IOTLB invalidate.</summary>
    public const int IOTLB = 0xf8;

    /// <summary>First fault recording register (at 16 * CAP.FRO), 16 bytes each.</summary>
    public const int FRCD = 0x220;
}
