using IommuFd.HwSim.Kernel;
using IommuFd.Native;

namespace IommuFd.HwSim.Foreign;

/// <summary>What programs are shown of a simulated machine: its files, and what opening one gives.</summary>
internal interface IForeignMachine
{
    /// <summary>The machine's /sys, /proc and /dev.</summary>
    ISysfs Files { get; }

    /// <summary>Who the user that starts programs is on the machine.</summary>
    ProcessTopology User { get; }

    /// <summary>Changes whenever a file appears or vanishes.</summary>
    long Version { get; }

    /// <summary>The machine's memory, in which a program's pages are pinned.</summary>
    PhysicalMemory Memory { get; }

    /// <summary>This thread serves a call of <paramref name="process"/> from now on.</summary>
    void Enter(SimulatedProcess process);

    /// <summary>open(2) of a file of the machine.</summary>
    /// <param name="path">Absolute, without links.</param>
    /// <param name="flags">O_* of <see cref="Native.Libc"/>.</param>
    /// <param name="process">Who opens.</param>
    /// <param name="file">The file; the caller owns a reference.</param>
    /// <returns>0 or -errno.</returns>
    int Open(string path, int flags, SimulatedProcess process, out SimulatedFile? file);
}
