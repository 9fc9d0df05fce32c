using System.Text;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>The kernel's sample parent of serial ports (samples/vfio-mdev/mtty.c): 24 ports, in devices of one or two.</summary>
internal sealed class MttyParent(VfioCore core, FileTree tree) : IMdevParent
{
    private const int MaximumPorts = 24;
    private int _ports = MaximumPorts;

    public string Name => "mtty";

    public IReadOnlyList<MdevType> Types { get; } = [new("1", "Single port serial"), new("2", "Dual port serial")];

    public int Available(MdevType type) => Volatile.Read(ref _ports) / Ports(type);

    public int Probe(MdevType type, string name, DirectoryNode directory, out VfioDevice? device)
    {
        device = null;
        int ports = Ports(type);
        if (Interlocked.Add(ref _ports, -ports) < 0)
        {
            Interlocked.Add(ref _ports, ports);
            return -Errno.ENOSPC;
        }

        var mtty = new MttyDevice(core, name, new IommuDevice(name, null, null) { IsPci = false }, directory, ports);
        int error = core.Register(mtty, null, emulated: true);
        if (error < 0)
        {
            Interlocked.Add(ref _ports, ports);
            return error;
        }

        tree.Add(tree.Directory(directory.Path + "/vendor"), "sample_mdev_dev", () => $"This is MDEV {name}\n");
        device = mtty;
        return 0;
    }

    public void Remove(VfioDevice device) => Interlocked.Add(ref _ports, ((MttyDevice)device).Ports);

    private static int Ports(MdevType type) => type.Id == "1" ? 1 : 2;
}
