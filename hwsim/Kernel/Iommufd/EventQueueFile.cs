using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The file of a fault queue or a virtual event queue (struct iommufd_eventq): never waits, readable while something is queued, no position.
/// </summary>
internal sealed class EventQueueFile : SimulatedFile
{
    private readonly IommufdContext _context;
    private readonly IommufdObject _queue;
    private readonly Transfer _read;
    private readonly Transfer? _write;
    private readonly Func<bool> _hasEvents;
    private readonly Lock _lock = new();
    private bool _isReadable;
    private bool _isReleased;

    internal EventQueueFile(IommufdContext context, IommufdObject queue, Transfer read, Transfer? write, Func<bool> hasEvents)
    {
        _context = context;
        _queue = queue;
        _read = read;
        _write = write;
        _hasEvents = hasEvents;

        // The open file keeps the iommufd and the queue.
        context.Get();
        queue.AddUser();
    }

    internal delegate nint Transfer(ulong buffer, nuint count, IUserMemory user);

    public override bool HasReadiness => true;

    public override nint Read(ulong buffer, nuint count, IUserMemory user)
    {
        var done = _read(buffer, count, user);
        Update();
        return done;
    }

    public override nint Write(ulong buffer, nuint count, IUserMemory user) => _write?.Invoke(buffer, count, user) ?? -Errno.EINVAL;

    public override nint Pread(ulong buffer, nuint count, long offset, IUserMemory user) => -Errno.ESPIPE;

    public override nint Pwrite(ulong buffer, nuint count, long offset, IUserMemory user) => -Errno.ESPIPE;

    /// <summary>Brings readiness in line with the queue.</summary>
    internal void Update()
    {
        lock (_lock)
        {
            var readable = _hasEvents();
            if (readable != _isReadable && !_isReleased)
            {
                _isReadable = readable;
                SetReadable(readable);
            }
        }
    }

    protected override void Release()
    {
        lock (_lock)
        {
            _isReleased = true;
        }

        _queue.DropUser();
        _context.Put();
    }
}
