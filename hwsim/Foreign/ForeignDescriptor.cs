using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>An open file of the machine in other processes: a socket pair, of which they have one end and this process the other.</summary>
internal sealed unsafe class ForeignDescriptor(SimulatedFile file, ForeignProcess opener, int ourEnd, ulong inode)
{
    private bool _hasByte;
    private bool _isReadable;

    /// <summary>The file, with a reference of this table.</summary>
    public SimulatedFile File => file;

    /// <summary>The numbers that it was installed as, the first one first.</summary>
    public List<int> Numbers { get; } = [];

    /// <summary>What fstat(2) says, for a file that was opened by a path.</summary>
    public PathStatus? Status { get; init; }

    /// <summary>Who opened it.</summary>
    public ForeignProcess Opener => opener;

    /// <summary>This process's end.</summary>
    public int OurEnd => ourEnd;

    /// <summary>The inode of the programs' end, which /proc/PID/fd tells.</summary>
    public ulong Inode => inode;

    /// <summary>Nothing is queued any more, but the byte is still in the socket.</summary>
    public bool MustDrain => _hasByte && !_isReadable;

    /// <summary>A byte in the socket makes the programs' end readable; they never get it, for their reads are served here.</summary>
    public void SetReadable(bool readable)
    {
        _isReadable = readable;
        if (readable && !_hasByte)
        {
            byte signal = 1;
            _hasByte = Libc.Write(ourEnd, (nint)(&signal), 1) == 1;
        }
    }

    /// <summary>The byte was taken back.</summary>
    public void Drained() => _hasByte = false;
}
