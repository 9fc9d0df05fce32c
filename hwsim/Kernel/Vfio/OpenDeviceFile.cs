namespace IommuFd.HwSim.Kernel;

/// <summary>An open VFIO device, of whichever dialect: its regions can be reached once it is bound.</summary>
/// <param name="device">The device; the file owns one registration of it.</param>
/// <param name="refusal">-errno of an access before.</param>
internal abstract class OpenDeviceFile(VfioDevice device, int refusal) : SimulatedFile
{
    private bool _accessGranted;
    private long _position;

    /// <summary>The device.</summary>
    public VfioDevice Device { get; } = device;

    /// <summary>Whether it is bound.</summary>
    protected bool AccessGranted
    {
        get => Volatile.Read(ref _accessGranted);
        set => Volatile.Write(ref _accessGranted, value);
    }

    /// <inheritdoc/>
    public override nint Pread(ulong buffer, nuint count, long offset, IUserMemory user) =>
        AccessGranted ? Device.Read(buffer, count, offset, user) : refusal;

    /// <inheritdoc/>
    public override nint Pwrite(ulong buffer, nuint count, long offset, IUserMemory user) =>
        AccessGranted ? Device.Write(buffer, count, offset, user) : refusal;

    /// <inheritdoc/>
    public override nint Read(ulong buffer, nuint count, IUserMemory user) => Advance(Pread(buffer, count, _position, user));

    /// <inheritdoc/>
    public override nint Write(ulong buffer, nuint count, IUserMemory user) => Advance(Pwrite(buffer, count, _position, user));

    /// <inheritdoc/>
    public override nint Mmap(nint address, nuint length, int protection, int flags, long offset) =>
        AccessGranted ? Device.Mmap(address, length, protection, flags, offset) : refusal;

    /// <inheritdoc/>
    public override int MapSource(nuint length, int protection, int flags, long offset, out int descriptor)
    {
        descriptor = -1;
        return AccessGranted ? Device.MapSource(length, flags, offset, out descriptor) : refusal;
    }

    private nint Advance(nint moved)
    {
        _position += Math.Max(0, moved);
        return moved;
    }
}
