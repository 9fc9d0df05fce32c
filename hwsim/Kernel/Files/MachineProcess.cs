using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>The one process of a simulated machine: this one.</summary>
internal sealed class MachineProcess : SimulatedProcess
{
    private readonly DescriptorTable _table;
    private readonly FailNth? _faults;
    private readonly bool _privileged;
    private ulong _memoryLock;

    public MachineProcess(ProcessTopology topology, DescriptorTable table, FailNth? faults)
        : base(new SimulatedUser(topology.UserId))
    {
        _table = table;
        _faults = faults;
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
    public override int InstallFile(SimulatedFile file)
    {
        if (_faults is null)
        {
            return _table.Install(file);
        }

        if (_faults.MustFail())
        {
            return -Errno.EMFILE;
        }

        int descriptor = _table.Install(file);
        _faults.IsCommitted = descriptor >= 0;
        return descriptor;
    }

    /// <inheritdoc/>
    public override SimulatedFile? GetFile(int descriptor) => _table.Get(descriptor);
}
