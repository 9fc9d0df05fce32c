using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>A <see cref="SimulatedHost"/> as programs see it.</summary>
internal sealed class SimulatedHostFiles : IForeignMachine
{
    private readonly SimulatedHost _host;

    /// <summary>Shows a machine to programs; it gets what <see cref="FailNth"/> needs of debugfs.</summary>
    public SimulatedHostFiles(SimulatedHost host)
    {
        _host = host;
        foreach (var kind in (string[])["failslab", "fail_page_alloc", "fail_usercopy"])
        {
            var directory = _host.Tree.Directory("/sys/kernel/debug/" + kind);
            foreach (var name in (string[])["ignore-gfp-wait", "ignore-gfp-highmem", "verbose"])
            {
                _host.Tree.Add(directory, name, static () => "N\n", static _ => 0);
            }
        }
    }

    /// <inheritdoc/>
    public ISysfs Files => _host.Sysfs;

    /// <inheritdoc/>
    public ProcessTopology User => _host.Topology.Process;

    /// <inheritdoc/>
    public long Version => _host.Tree.Version;

    /// <inheritdoc/>
    public PhysicalMemory Memory => _host.Memory;

    /// <inheritdoc/>
    public void Enter(SimulatedProcess process) => _host.Vfio.Current.Value = process;

    /// <inheritdoc/>
    public int Open(string path, int flags, SimulatedProcess process, out SimulatedFile? file)
    {
        file = null;
        var rc = _host.Tree.Find(path, true, out var node);
        return rc < 0 ? rc
            : !Permits(node!, flags, process.User.UserId) ? -Errno.EACCES
            : node switch
            {
                DeviceNode device => device.Open(flags, out file),
                AttributeNode attribute => AttributeFile.Open(attribute, flags, out file),
                _ => -Errno.EISDIR,
            };
    }

    private static bool Permits(FileNode node, int flags, uint user)
    {
        var bits = user == node.UserId ? node.Mode >> 6 : node.Mode;
        var wanted = (flags & Libc.O_ACCMODE) switch { Libc.O_RDONLY => 4u, Libc.O_WRONLY => 2u, _ => 6u };
        return user == 0 || (bits & wanted) == wanted;
    }
}
