namespace IommuFd.HwSim.PageTables;

/// <summary>What a walk is for, and what it may change.</summary>
[Flags]
public enum WalkAccess : uint
{
    /// <summary>Look only: no permission is asked for.</summary>
    None = 0,

    /// <summary>A read.</summary>
    Read = 1,

    /// <summary>A write.</summary>
    Write = 2,

    /// <summary>An instruction fetch.</summary>
    Execute = 4,

    /// <summary>The request has privilege: pages for unprivileged requests only are judged as the format says.</summary>
    Privileged = 8,

    /// <summary>Hardware keeps accessed (and, for writes, dirty) bits: set them when the walk succeeds.</summary>
    UpdateAccessedDirty = 16,

    /// <summary>A clear accessed bit (or dirty bit, for a write) is a fault: Arm without HTTU, RISC-V without SADE/GADE.</summary>
    FaultOnClearAccessed = 32,

    /// <summary>As <see cref="FaultOnClearAccessed"/>, for the dirty bit of a page that is written (RISC-V).</summary>
    FaultOnClearDirty = 64,

    /// <summary>A privileged request may not touch a page that is open to unprivileged ones (x86 SMAP, RISC-V SUM = 0).</summary>
    PrivilegedNotUser = 128,
}
