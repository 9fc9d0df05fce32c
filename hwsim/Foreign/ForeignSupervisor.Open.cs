using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// open(2) and its kin: the host resolves the path in the program's own directory tree; when it ends in the machine's files, the machine opens it.
/// </summary>
internal sealed unsafe partial class ForeignSupervisor
{
    private const int MaximumPath = 4096;
    private const string FailNthPath = "fail-nth";
    private const string SysfsHasNoSuchFile = "no such file in sysfs";
    private const ulong RESOLVE_IN_ROOT = 0x10;

    private void Open(in SeccompCall call, ForeignProcess process, int directory, ulong pathAddress, int flags)
    {
        var path = stackalloc byte[MaximumPath * 2];
        if ((flags & Libc.O_PATH) != 0 || !Absolute(process, call.Thread, directory, pathAddress, path)
            || Resolve(process, path, flags) is not { } resolved)
        {
            _listener.Continue(call.Id);
            return;
        }

        if (resolved.Length == 0)
        {
            OpenStatus(in call, process, path, flags);
            return;
        }

        var closeOnExec = (flags & Libc.O_CLOEXEC) != 0;
        var result = OpenMachineFile(in call, process, resolved, flags, closeOnExec, out var answered);
        if (result != Errno.EISDIR || answered)
        {
            Trace?.Opened(process, resolved, flags, result);
        }

        if (result == Errno.EISDIR)
        {
            _listener.Continue(call.Id);
        }
        else if (!answered)
        {
            _listener.Answer(call.Id, result);
        }
    }

    private int OpenMachineFile(in SeccompCall call, ForeignProcess process, string path, int flags, bool closeOnExec, out bool answered)
    {
        answered = false;
        if (ReferenceEquals(path, FailNthPath))
        {
            var failNth = _descriptors.Install(process, new FailNthFile(process.Memory.Faults), closeOnExec, answer: true);
            answered = failNth >= 0;
            return failNth;
        }

        if (ReferenceEquals(path, SysfsHasNoSuchFile))
        {
            return -Errno.EACCES;
        }

        var rc = _machine.Files.Status(path, out var status);
        if (rc == 0 && status.Kind == PathKind.Directory)
        {
            return Errno.EISDIR; // a positive number: the host opens its own copy of the directory
        }

        if ((flags & (Libc.O_CREAT | Libc.O_EXCL)) == (Libc.O_CREAT | Libc.O_EXCL))
        {
            return -Errno.EEXIST;
        }

        if ((flags & Libc.O_DIRECTORY) != 0)
        {
            return -Errno.ENOTDIR;
        }

        if (rc == 0 && status.Kind == PathKind.File && (flags & Libc.O_ACCMODE) == Libc.O_RDONLY && (status.Mode & 0x124) != 0
            && _machine.Files.ReadBytes(path, out var content) >= 0)
        {
            return AddSnapshot(in call, content, closeOnExec, out answered);
        }

        rc = _machine.Open(path, flags, process, out var file);
        if (rc < 0)
        {
            return rc;
        }

        file!.NonBlocking = (flags & Libc.O_NONBLOCK) != 0;
        rc = _descriptors.Install(process, file, closeOnExec, answer: Trace is null, status);
        answered = rc >= 0 && Trace is null;
        if (rc < 0)
        {
            file.Put();
        }

        return rc;
    }

    // What is only read is given as a file of the host's with the content of this moment: reading it costs no call here.
    private int AddSnapshot(in SeccompCall call, ReadOnlySpan<byte> content, bool closeOnExec, out bool answered)
    {
        answered = false;
        var memory = Libc.MemFdCreate("attribute", Libc.MFD_CLOEXEC);
        if (memory < 0)
        {
            return -Marshal.GetLastPInvokeError();
        }

        fixed (byte* bytes = content)
        {
            _ = Libc.Write(memory, (nint)bytes, (nuint)content.Length);
        }

        var readOnly = Libc.Open($"/proc/self/fd/{memory}", Libc.O_RDONLY | Libc.O_CLOEXEC, 0);
        var result = readOnly < 0 ? -Marshal.GetLastPInvokeError() : _listener.AddDescriptor(call.Id, readOnly, -1, closeOnExec, answer: true);
        answered = result >= 0;
        _ = Libc.Close(memory);
        if (readOnly >= 0)
        {
            _ = Libc.Close(readOnly);
        }

        return result;
    }

    // The path as seen from the program's root directory. False: it cannot be read, or its start is not known.
    private static bool Absolute(ForeignProcess process, int thread, int directory, ulong address, byte* path)
    {
        var length = process.Memory.CopyString(address, path, MaximumPath);
        if (length <= 0)
        {
            return false;
        }

        if (path[0] == '/')
        {
            return true;
        }

        var link = Encoding.UTF8.GetBytes(directory == Libc.AT_FDCWD ? $"/proc/{thread}/cwd\0" : $"/proc/{thread}/fd/{directory}\0");
        var start = stackalloc byte[MaximumPath];
        nint startLength;
        fixed (byte* name = link)
        {
            startLength = Libc.ReadLinkAt(Libc.AT_FDCWD, name, start, MaximumPath - 1);
        }

        if (startLength <= 0 || start[0] != '/')
        {
            return false;
        }

        new ReadOnlySpan<byte>(path, length + 1).CopyTo(new Span<byte>(path + startLength + 1, length + 1));
        new ReadOnlySpan<byte>(start, (int)startLength).CopyTo(new Span<byte>(path, (int)startLength));
        path[startLength] = (byte)'/';
        return true;
    }

    // Null: the host's. Empty: a process's status file, where the machine has two lines to say. Else the machine's path.
    private string? Resolve(ForeignProcess process, byte* path, int flags)
    {
        var text = MemoryMarshal.CreateReadOnlySpanFromNullTerminated(path);
        if (text.EndsWith("/fail-nth"u8) && text.StartsWith("/proc/"u8))
        {
            return FailNthPath;
        }

        if (text.EndsWith("/status"u8) && text.StartsWith("/proc/"u8))
        {
            return "";
        }

        var found = Find(process, path, flags & Libc.O_NOFOLLOW);
        if (found == -Errno.ENOENT && (flags & Libc.O_CREAT) != 0)
        {
            return IsInSysfs(process, path) ? SysfsHasNoSuchFile : null;
        }

        if (found < 0)
        {
            return null;
        }

        // A link that is not to be followed is the host's to refuse.
        var status = default(Libc.StatxBuffer);
        var isMachine = Libc.Statx(found, "", Libc.AT_EMPTY_PATH, 0x101, &status) == 0 && status.FileSystem == _view.FileSystem
            && (status.Mode & 0xf000) != 0xa000;
        var result = isMachine ? MachineView.PathOf(found) : null;
        _ = Libc.Close(found);
        return result;
    }

    // An O_PATH descriptor, or -errno.
    private static int Find(ForeignProcess process, byte* path, int flags)
    {
        var how = stackalloc ulong[3] { (ulong)(Libc.O_PATH | Libc.O_CLOEXEC | flags), 0, RESOLVE_IN_ROOT };
        var found = (int)Libc.Syscall(Libc.SYS_openat2, process.Root, (nint)path, (nint)how, 24, 0, 0);
        return found >= 0 ? found : -Marshal.GetLastPInvokeError();
    }

    // Whether what is missing at a path is missing in the machine's /sys, where no program can make a file. The view, a tmpfs, would let it.
    private bool IsInSysfs(ForeignProcess process, byte* path)
    {
        var text = MemoryMarshal.CreateReadOnlySpanFromNullTerminated(path);
        var parent = stackalloc byte[MaximumPath * 2];
        var length = text.LastIndexOf((byte)'/') + 1;
        text[..length].CopyTo(new Span<byte>(parent, MaximumPath * 2)); // SAFETY: the path is no longer than its own buffer, which has this size
        parent[length] = 0;
        var found = Find(process, parent, 0);
        if (found < 0)
        {
            return false;
        }

        var status = default(Libc.StatxBuffer);
        var result = Libc.Statx(found, "", Libc.AT_EMPTY_PATH, 0x100, &status) == 0 && status.FileSystem == _view.FileSystem
            && MachineView.PathOf(found) is { } folder && (folder + "/").StartsWith("/sys/", StringComparison.Ordinal);
        _ = Libc.Close(found);
        return result;
    }

    // VmLck and VmPin are the only lines of /proc/PID/status that VFIO and iommufd move; here they move them, so here they are told.
    private void OpenStatus(in SeccompCall call, ForeignProcess caller, byte* path, int flags)
    {
        var text = Marshal.PtrToStringUTF8((nint)path)!;
        var name = text.Split('/')[2];
        var id = name is "self" or "thread-self" ? caller.Id : int.TryParse(name, CultureInfo.InvariantCulture, out var number) ? number : -1;
        ForeignProcess? process;
        lock (_gate)
        {
            _ = _processes.TryGetValue(id, out process);
        }

        if (process is null || (process.LockedPages.Pages | process.PinnedPages.Pages) == 0 || (flags & Libc.O_ACCMODE) != Libc.O_RDONLY)
        {
            _listener.Continue(call.Id);
            return;
        }

        var lines = File.ReadAllLines($"/proc/{id}/status");
        for (var i = 0; i < lines.Length; i++)
        {
            var pages = lines[i].StartsWith("VmLck:", StringComparison.Ordinal) ? process.LockedPages.Pages
                : lines[i].StartsWith("VmPin:", StringComparison.Ordinal) ? process.PinnedPages.Pages : 0;
            if (pages != 0)
            {
                lines[i] = string.Create(CultureInfo.InvariantCulture, $"{lines[i][..6]}\t{pages * 4,8} kB");
            }
        }

        var result = AddSnapshot(in call, Encoding.UTF8.GetBytes(string.Join('\n', lines) + "\n"), (flags & Libc.O_CLOEXEC) != 0, out var answered);
        if (!answered)
        {
            _listener.Answer(call.Id, result);
        }
    }
}
