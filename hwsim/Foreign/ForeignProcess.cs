using System.Globalization;
using System.Runtime.InteropServices;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>A program on the simulated machine: an ordinary process of the host.</summary>
internal sealed unsafe class ForeignProcess : SimulatedProcess, IDisposable
{
    private const int CAP_IPC_LOCK = 14, CAP_SYS_RAWIO = 17, CAP_SYS_RESOURCE = 24;

    private readonly ForeignDescriptors _table;
    private readonly SharedFiles _files;
    private readonly Lock _gate = new();
    private int _descriptors = -1;
    private int _root = -1;

    /// <summary>The process <paramref name="id"/> of the host.</summary>
    /// <param name="id">Its process id on the host.</param>
    /// <param name="number">Its number here.</param>
    /// <param name="user">Who runs it.</param>
    /// <param name="table">The open files of the machine.</param>
    /// <param name="files">The files whose pages are shared with it.</param>
    public ForeignProcess(int id, int number, SimulatedUser user, ForeignDescriptors table, SharedFiles files)
        : base(user)
    {
        Id = id;
        _table = table;
        _files = files;
        Memory = new ForeignMemory(this, number, files);
        Pidfd = (int)Libc.Syscall(Libc.SYS_pidfd_open, id, 0, 0, 0, 0, 0);
    }

    /// <summary>Its process id on the host.</summary>
    public int Id { get; }

    /// <summary>
    /// True for a process of an ordinary user of the host who is root on the machine. A process of the host's root has what it has.
    /// </summary>
    public bool HasAllCapabilities { get; init; }

    /// <summary>Its memory.</summary>
    public ForeignMemory Memory { get; }

    /// <summary>A pidfd: readable when the process has ended. -1: it has.</summary>
    public int Pidfd { get; }

    /// <inheritdoc/>
    public override Capabilities Capabilities
    {
        get
        {
            if (HasAllCapabilities)
            {
                return Capabilities.All;
            }

            // What the host's container withholds from everybody, root has on the simulated machine.
            var effective = Bits(StatusLine(Id, "CapEff:")) | (UserOf(Id) == 0 ? ~Bits(StatusLine(Environment.ProcessId, "CapBnd:")) : 0);
            return ((effective >> CAP_IPC_LOCK & 1) != 0 ? Capabilities.IpcLock : 0)
                | ((effective >> CAP_SYS_RAWIO & 1) != 0 ? Capabilities.SysRawIO : 0)
                | ((effective >> CAP_SYS_RESOURCE & 1) != 0 ? Capabilities.SysResource : 0);
        }
    }

    /// <inheritdoc/>
    public override ulong MemlockLimit
    {
        get
        {
            var limits = stackalloc ulong[2];
            return Libc.ProcessLimit(Id, Libc.RLIMIT_MEMLOCK, null, limits) == 0 ? limits[0] : 0;
        }
    }

    /// <summary>An O_PATH descriptor of its root directory, -1 when it has ended.</summary>
    public int Root => Directory(ref _root, "root");

    /// <inheritdoc/>
    public override int InstallFile(SimulatedFile file)
    {
        if (Memory.Faults.MustFail())
        {
            return -Errno.ENOMEM;
        }

        Memory.Faults.IsCommitted = true;
        return _table.Install(this, file);
    }

    /// <inheritdoc/>
    public override SimulatedFile? GetFile(int descriptor) => _table.Get(this, descriptor);

    /// <inheritdoc/>
    public override int DuplicateDescriptor(int descriptor)
    {
        var copy = (int)Libc.Syscall(Libc.SYS_pidfd_getfd, Pidfd, descriptor, 0, 0, 0, 0);
        return copy >= 0 ? copy : -Marshal.GetLastPInvokeError();
    }

    /// <inheritdoc/>
    internal override nint MapFile(int descriptor, ulong start, ulong length)
    {
        var token = _files.TokenOf(descriptor, start + length);
        if (token == 0)
        {
            return 0;
        }

        _files.Get(token);
        return (nint)(token + start);
    }

    /// <inheritdoc/>
    internal override void UnmapFile(nint host, ulong length) => _files.Put((ulong)host);

    /// <inheritdoc/>
    internal override bool PopulateFile(nint host, ulong length) => _files.Populate(host, length);

    /// <summary>What /proc/PID/fd says a descriptor is, such as <c>socket:[4711]</c>.</summary>
    /// <param name="descriptor">The number.</param>
    /// <param name="text">Room for <paramref name="room"/> bytes.</param>
    /// <param name="room">Bytes of room.</param>
    /// <returns>The length, or -1 when the descriptor is closed.</returns>
    public int DescribeDescriptor(int descriptor, byte* text, int room)
    {
        if (descriptor < 0)
        {
            return -1;
        }

        // SAFETY: an int has at most 10 digits.
        var name = stackalloc byte[12];
        var at = 11;
        name[at] = 0;
        do
        {
            name[--at] = (byte)('0' + (descriptor % 10));
            descriptor /= 10;
        }
        while (descriptor != 0);
        return (int)Libc.ReadLinkAt(Directory(ref _descriptors, "fd"), name + at, text, (nuint)room);
    }

    /// <summary>True while it is being torn down: its descriptors close because it ends, not because it closed them.</summary>
    public static bool IsEnding(int id)
    {
        try
        {
            // pid (name) state ppid pgrp session tty tpgid flags: PF_EXITING is 4.
            var text = File.ReadAllText($"/proc/{id}/stat");
            var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" || (uint.Parse(fields[6], CultureInfo.InvariantCulture) & 4) != 0;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            return true;
        }
    }

    /// <summary>The process that a thread belongs to, or -1.</summary>
    public static int OfThread(int thread) => int.TryParse(StatusLine(thread, "Tgid:"), CultureInfo.InvariantCulture, out var id) ? id : -1;

    /// <summary>The effective uid of a process.</summary>
    public static uint UserOf(int id)
    {
        var ids = StatusLine(id, "Uid:").Split('\t');
        return ids.Length > 1 && uint.TryParse(ids[1], CultureInfo.InvariantCulture, out var user) ? user : 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Memory.Dispose();
        foreach (var descriptor in (int[])[Pidfd, _descriptors, _root])
        {
            if (descriptor >= 0)
            {
                _ = Libc.Close(descriptor);
            }
        }
    }

    private static ulong Bits(string text) => ulong.TryParse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var bits) ? bits : 0;

    private static string StatusLine(int id, string name)
    {
        try
        {
            foreach (var line in File.ReadLines($"/proc/{id}/status"))
            {
                if (line.StartsWith(name, StringComparison.Ordinal))
                {
                    return line[name.Length..].Trim();
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It has ended.
        }

        return "";
    }

    private int Directory(ref int descriptor, string name)
    {
        if (Volatile.Read(ref descriptor) < 0)
        {
            lock (_gate)
            {
                if (descriptor < 0)
                {
                    Volatile.Write(ref descriptor, Libc.Open($"/proc/{Id}/{name}", (name == "root" ? Libc.O_PATH : 0) | Libc.O_CLOEXEC, 0));
                }
            }
        }

        return descriptor;
    }
}
