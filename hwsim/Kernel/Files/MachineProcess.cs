using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>The one process of a simulated machine: this one.</summary>
internal sealed class MachineProcess : SimulatedProcess
{
    private readonly DescriptorTable _table;
    private readonly bool _privileged;
    private ulong _memoryLock;

    public MachineProcess(ProcessTopology topology, DescriptorTable table)
        : base(new SimulatedUser(topology.UserId))
    {
        _table = table;
        _privileged = topology.Privileged;
        _memoryLock = topology.MemoryLock;
    }

    /// <inheritdoc/>
    public override Capabilities Capabilities => _privileged ? Capabilities.All : Capabilities.None;

    /// <inheritdoc/>
    public override ulong MemlockLimit => Volatile.Read(ref _memoryLock);

    /// <summary>setrlimit(2) of RLIMIT_MEMLOCK.</summary>
    public void SetMemlockLimit(ulong bytes) => Volatile.Write(ref _memoryLock, bytes);

    /// <summary>The permission bits of a device node, for a process that cannot override them.</summary>
    public bool Permits(DeviceNode node, int flags)
    {
        if (_privileged || User.UserId == 0)
        {
            return true;
        }

        uint bits = User.UserId == node.UserId ? node.Mode >> 6 : node.Mode;
        uint wanted = (flags & Libc.O_ACCMODE) switch { Libc.O_RDONLY => 4u, Libc.O_WRONLY => 2u, _ => 6u };
        return (bits & wanted) == wanted;
    }

    /// <inheritdoc/>
    public override int InstallFile(SimulatedFile file) => _table.Install(file);

    /// <inheritdoc/>
    public override SimulatedFile? GetFile(int descriptor) => _table.Get(descriptor);
}
