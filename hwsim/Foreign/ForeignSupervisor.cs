using System.Collections.Concurrent;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Foreign;

/// <summary>
/// Serves the system calls of programs that run under <see cref="SeccompFilter"/>: those on the simulated machine's files here, the others by the
/// host.
/// </summary>
/// <remarks>
/// Each call is served by one of a few threads, so that one that waits (unbinding a driver from a device that is in use) does not hold up the others.
/// Does not model: io_uring on descriptors of the machine, reads and writes with vectors, and calls in a 32-bit program.
/// </remarks>
internal sealed unsafe partial class ForeignSupervisor : IRemoteMemory, IDisposable
{
    private const int Threads = 4;

    private readonly SemaphoreSlim _receiver = new(1);

    private readonly SystemCalls _calls;
    private readonly IForeignMachine _machine;
    private readonly SeccompListener _listener;
    private readonly ForeignDescriptors _descriptors;
    private readonly MachineView _view;
    private readonly ForeignMappings _mappings = new();
    private readonly ConcurrentDictionary<int, ForeignProcess> _byThread = new();
    private readonly Dictionary<int, ForeignProcess> _processes = [];
    private readonly Dictionary<uint, SimulatedUser> _users = [];
    private readonly SharedFiles _files = new();
    private readonly ForeignMemory?[] _memories = new ForeignMemory?[ForeignMemory.MostNumber + 1];
    private readonly Lock _gate = new();
    private readonly int _first;
    private readonly ForeignNumbers _numbers = new();
    private int _lastProcess;
    private volatile bool _stopped;

    /// <summary>Serves calls of <paramref name="listener"/>.</summary>
    public ForeignSupervisor(SystemCalls calls, IForeignMachine machine, SeccompListener listener, MachineView view, int first, int end)
    {
        _calls = calls;
        _machine = machine;
        _listener = listener;
        _view = view;
        _first = first;
        _descriptors = new ForeignDescriptors(first, end, _numbers) { Closing = OnClosing };
        machine.Memory.Remote = this;
    }

    /// <summary>Told of each call on a file of the machine.</summary>
    public ForeignTrace? Trace { get; set; }

    /// <summary>The calls that are being served, for the one who answers when this process cannot any more.</summary>
    internal ForeignKeeper.InFlight InFlight { get; } = ForeignKeeper.InFlight.Create();

    /// <summary>Files that were still open when their process ended.</summary>
    public ConcurrentQueue<string> LeftOpen { get; } = new();

    /// <summary>Starts to serve.</summary>
    public void Start()
    {
        _listener.TakeTurns();
        for (var i = 0; i < Threads; i++)
        {
            var thread = i;
            new Thread(() => ServeCalls(thread)) { IsBackground = true, Name = "foreign calls" }.Start();
        }

        new Thread(WatchEnds) { IsBackground = true, Name = "foreign ends" }.Start();
    }

    /// <summary>Releases what was closed until now.</summary>
    public void Drain()
    {
        _mappings.Drain();
        _descriptors.Drain();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopped = true;
        _descriptors.Drain();
        _descriptors.Dispose();
        _mappings.Dispose();
        _files.Dispose();
        _listener.Dispose();
    }

    /// <inheritdoc/>
    public bool Read(nint token, void* destination, ulong length) => SharedFiles.Owns(token)
        ? _files.Read(token, destination, length)
        : _memories[ForeignMemory.NumberOf(token)] is { } memory && memory.ReadPinned(ForeignMemory.AddressOf(token), destination, length);

    /// <inheritdoc/>
    public bool Write(nint token, void* source, ulong length) => SharedFiles.Owns(token)
        ? _files.Write(token, source, length)
        : _memories[ForeignMemory.NumberOf(token)] is { } memory && memory.WritePinned(ForeignMemory.AddressOf(token), source, length);

    // One thread receives, so that call after call finds it awake and its caches warm; it lets another one go on before a call that can take long.
    private void ServeCalls(int thread)
    {
        var receives = false;
        while (!_stopped)
        {
            if (!receives)
            {
                _receiver.Wait();
                receives = true;
            }

            // SAFETY: the slot is this thread's own and stays mapped as long as the process.
            var call = InFlight.Slot(thread);
            var rc = _listener.Receive(call);
            if (rc >= 0)
            {
                if (CanTakeLong(in *call))
                {
                    receives = false;
                    _ = _receiver.Release();
                }

                Serve(in *call);
                Volatile.Write(ref call->Id, 0);
            }
            else if (rc is not (-Errno.EINTR or -Errno.ENOENT or -Errno.EAGAIN))
            {
                break;
            }
        }

        if (receives)
        {
            _ = _receiver.Release(); // the next one finds the same end
        }
    }

    // A store of an attribute can wait for a driver; memory is mapped page by page.
    private bool CanTakeLong(in SeccompCall call) => call.Number == _calls.ioctl
        ? (uint)call.Arguments[1] is Iommufd.IOMMU_IOAS_MAP or Iommufd.IOMMU_IOAS_MAP_FILE or Iommufd.IOMMU_IOAS_UNMAP or Vfio.VFIO_IOMMU_MAP_DMA
            or Vfio.VFIO_IOMMU_UNMAP_DMA
        : call.Number == _calls.write || call.Number == _calls.pwrite64 || call.Number == _calls.writev || call.Number == _calls.pwritev;

    private void Serve(in SeccompCall call)
    {
        try
        {
            _mappings.Drain();
            _descriptors.Drain();
            if (ProcessOf(in call) is not { } process)
            {
                _listener.Continue(call.Id);
                return;
            }

            _descriptors.Serve(_listener, call.Id);
            _machine.Enter(process);
            process.Memory.Faults.IsCommitted = false;
            Dispatch(in call, process);
        }
#pragma warning disable CA1031 // a fault in a model must not leave the program waiting for ever
        catch (Exception e)
#pragma warning restore CA1031
        {
            _listener.Answer(call.Id, -Errno.EIO);
            Faulted?.Invoke(e);
        }
    }

    /// <summary>Told when serving a call threw: a fault of the simulator.</summary>
    public Action<Exception>? Faulted { get; set; }

    private void Dispatch(in SeccompCall call, ForeignProcess process)
    {
        var number = call.Number;
        if (number == _calls.ioctl)
        {
            Ioctl(in call, process);
        }
        else if (number == _calls.openat)
        {
            Open(in call, process, (int)call.Arguments[0], call.Arguments[1], (int)call.Arguments[2]);
        }
        else if (number == _calls.open)
        {
            Open(in call, process, Libc.AT_FDCWD, call.Arguments[0], (int)call.Arguments[1]);
        }
        else if (number == _calls.openat2)
        {
            // struct open_how begins with the flags.
            ulong flags = 0;
            var known = process.Memory.CopyFrom(call.Arguments[2], &flags, sizeof(ulong)) == 0;
            Open(in call, process, (int)call.Arguments[0], call.Arguments[1], known ? (int)flags : Libc.O_PATH);
        }
        else if (number == _calls.creat)
        {
            Open(in call, process, Libc.AT_FDCWD, call.Arguments[0], Libc.O_WRONLY);
        }
        else if (EndsNumbers(in call, process))
        {
            _listener.Continue(call.Id);
        }
        else
        {
            OnDescriptor(in call, process);
        }
    }

    private bool EndsNumbers(in SeccompCall call, ForeignProcess process)
    {
        var number = call.Number;
        var (a, b) = ((uint)call.Arguments[0], (uint)call.Arguments[1]);
        if (number == _calls.close)
        {
            _numbers.Forget(a, a);
        }
        else if (number == _calls.dup2 || number == _calls.dup3)
        {
            _numbers.Forget(b, b);
        }
        else if (number == _calls.close_range)
        {
            _numbers.Forget(a, b);
        }
        else if (number == _calls.execve || number == _calls.execveat)
        {
            _numbers.Forget(process);
        }
        else
        {
            return false;
        }

        return true;
    }

    private void Ioctl(in SeccompCall call, ForeignProcess process)
    {
        var file = FileOf(in call, process, (int)call.Arguments[0]);
        if (file is null)
        {
            _listener.Continue(call.Id);
            return;
        }

        var request = (uint)call.Arguments[1];
        var argument = call.Arguments[2];
        long result;
        process.Memory.BeginCall(argument);
        try
        {
            result = Calls(process, file) is { } traced
                ? traced.Ioctl((int)call.Arguments[0], request, (nint)argument)
                : file.Ioctl(request, argument, process.Memory);
            if (request == Vfio.VFIO_DEVICE_GET_REGION_INFO && result >= 0)
            {
                BiasRegion(process, argument);
            }
        }
        finally
        {
            process.Memory.EndCall();
        }


        Finish(in call, process, file, result);
    }

    // The process's calls with a trace before them; null without a trace.
    private TracingKernel? Calls(ForeignProcess process, SimulatedFile file) => Trace?.Of(process, file);

    private SimulatedFile? FileOf(in SeccompCall call, ForeignProcess process, int descriptor) =>
        _descriptors.Get(process, descriptor)
            ?? (_mappings.GiveBack(_listener, call.Id, process, descriptor) ? _descriptors.GetInstalled(process, descriptor) : null);

    // struct vfio_region_info: the offset is its last field.
    private static void BiasRegion(ForeignProcess process, ulong argument)
    {
        const uint Offset = 24, Size = 32;
        uint size = 0;
        long offset = 0;
        if (process.Memory.CopyFrom(argument, &size, sizeof(uint)) == 0 && size >= Size
            && process.Memory.CopyFrom(argument + Offset, &offset, sizeof(long)) == 0)
        {
            offset |= SeccompFilter.RegionBias;
            _ = process.Memory.CopyTo(argument + Offset, &offset, sizeof(long));
        }
    }

    private void Finish(in SeccompCall call, ForeignProcess process, SimulatedFile file, long result)
    {
        file.Put();
        _view.Refresh();
        _listener.Answer(call.Id, result);
    }

    // A thread that is new here is looked up by its number, which is its own only if it still waits for its answer then.
    private ForeignProcess? ProcessOf(in SeccompCall call)
    {
        var thread = call.Thread;
        if (_byThread.TryGetValue(thread, out var known))
        {
            return known;
        }

        var id = ForeignProcess.OfThread(thread);
        if (id < 0 || !_listener.IsValid(call.Id))
        {
            return null;
        }

        lock (_gate)
        {
            if (!_processes.TryGetValue(id, out var process))
            {
                // Who starts programs is the machine's user, whoever that is on the host.
                var hostUser = ForeignProcess.UserOf(id);
                var isOwn = hostUser == Libc.EffectiveUserId();
                var uid = isOwn ? _machine.User.UserId : hostUser;
                if (!_users.TryGetValue(uid, out var user))
                {
                    _users[uid] = user = new SimulatedUser(uid);
                }

                process = new ForeignProcess(id, ++_lastProcess & ForeignMemory.MostNumber, user, _descriptors, _files)
                {
                    HasAllCapabilities = isOwn && hostUser != 0 && _machine.User.Privileged,
                };
                _memories[_lastProcess & ForeignMemory.MostNumber] = process.Memory;
                _processes[id] = process;
                Attach(process);
            }

            _byThread[thread] = process;
            return process;
        }
    }

    private void OnClosing(SimulatedFile file, ForeignProcess opener, int number)
    {
        Trace?.Closed(opener, number);
        if (ForeignProcess.IsEnding(opener.Id) && LeakReport.Describe(file) is { } left)
        {
            LeftOpen.Enqueue(left);
        }
    }
}
