using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// An open file of the simulated kernel (struct file with its file_operations). A call that a file does not implement answers what Linux answers for
/// a file without that operation.
/// </summary>
/// <remarks>
/// References: the descriptor table holds one, whoever keeps the file for later (a bound device its iommufd) holds another. <see cref="Release"/>
/// runs once, when the last one is put and the calls that hold it by <see cref="TryEnter"/> have ended. Addresses in arguments are user addresses;
/// they are touched through <see cref="IUserMemory"/> only.
/// </remarks>
public abstract class SimulatedFile
{
    // Added once the last reference is gone, and again when the file is released.
    private const int Last = int.MinValue / 4, Released = int.MinValue / 2;

    private readonly CallCount _calls = new();
    private int _references = 1;
    private int _readiness = -1;

    /// <summary>
    /// True when poll(2) must report readiness: the descriptor is then an eventfd that the descriptor table hands over through
    /// <see cref="ReadinessDescriptor"/> and that is non-zero while the file is readable (made with EFD_NONBLOCK). False: the file is always ready.
    /// </summary>
    public virtual bool HasReadiness => false;

    /// <summary>
    /// The eventfd behind the file's descriptor when <see cref="HasReadiness"/>. The descriptor table sets it before the number is known to anybody.
    /// A duplicate is kept, so that the number may be closed at any time.
    /// </summary>
    public int ReadinessDescriptor
    {
        get => _readiness;
        set => _readiness = Native.Libc.Fcntl(value, Native.Libc.F_DUPFD_CLOEXEC, 0);
    }

    /// <summary>True when O_NONBLOCK is set on the descriptor.</summary>
    public bool NonBlocking { get; set; }

    /// <summary>
    /// Told instead of <see cref="ReadinessDescriptor"/> when the descriptor is in another process. Set before the number is known to anybody.
    /// </summary>
    public Action<bool>? ReadinessChanged { get; set; }

    /// <summary>Makes the descriptor readable for poll(2), or not.</summary>
    protected unsafe void SetReadable(bool readable)
    {
        ReadinessChanged?.Invoke(readable);
        if (_readiness < 0)
        {
            return;
        }

        // SAFETY: eight bytes of our own frame. An eventfd that is zero answers EAGAIN: the table makes it non-blocking.
        ulong count = 1;
        _ = readable ? Native.Libc.Write(_readiness, (nint)(&count), 8) : Native.Libc.Read(_readiness, (nint)(&count), 8);
    }

    /// <summary>get_file: takes a reference. The caller must hold one already.</summary>
    public void Get() => Interlocked.Increment(ref _references);

    /// <summary>Takes a reference unless the last one is gone.</summary>
    public bool TryGet()
    {
        // An increment never has to be tried again, however many threads use the file.
        if (Interlocked.Increment(ref _references) > 0)
        {
            return true;
        }

        Put();
        return false;
    }

    /// <summary>fput: gives a reference back; the last one releases the file.</summary>
    public void Put()
    {
        int left = Interlocked.Decrement(ref _references);
        if (left == Last || (left == 0 && Interlocked.CompareExchange(ref _references, Last, 0) == 0))
        {
            ReleaseUnlessCalled();
        }
    }

    /// <summary>
    /// Takes a reference for the length of a call (fdget) unless the last one is gone. Threads that call at the same time do not share memory for it,
    /// as they do with <see cref="TryGet"/>.
    /// </summary>
    /// <param name="entered">What <see cref="Exit"/> must be given.</param>
    public bool TryEnter(out int entered)
    {
        entered = _calls.Enter();
        if (Volatile.Read(ref _references) > 0)
        {
            return true;
        }

        Exit(entered);
        return false;
    }

    /// <summary>Gives back what <see cref="TryEnter"/> took (fdput).</summary>
    public void Exit(int entered)
    {
        _calls.Exit(entered);
        if (Volatile.Read(ref _references) == Last)
        {
            ReleaseUnlessCalled();
        }
    }

    // No call can begin any more. One that is under way may still take a reference.
    private void ReleaseUnlessCalled()
    {
        if (!_calls.IsZero || Interlocked.CompareExchange(ref _references, Released, Last) != Last)
        {
            return;
        }

        Release();
        if (_readiness >= 0)
        {
            _ = Native.Libc.Close(_readiness);
            _readiness = -1;
        }
    }

    /// <summary>ioctl(2).</summary>
    /// <param name="request">The request number.</param>
    /// <param name="argument">The third argument: mostly a user address.</param>
    /// <param name="user">The caller's memory.</param>
    /// <returns>The result, or -errno; -ENOTTY for a command the file does not know.</returns>
    public virtual int Ioctl(uint request, ulong argument, IUserMemory user) => -Errno.ENOTTY;

    /// <summary>read(2) into user <paramref name="buffer"/>.</summary>
    public virtual nint Read(ulong buffer, nuint count, IUserMemory user) => -Errno.EINVAL;

    /// <summary>write(2) from user <paramref name="buffer"/>.</summary>
    public virtual nint Write(ulong buffer, nuint count, IUserMemory user) => -Errno.EINVAL;

    /// <summary>pread64(2).</summary>
    public virtual nint Pread(ulong buffer, nuint count, long offset, IUserMemory user) => -Errno.EINVAL;

    /// <summary>pwrite64(2).</summary>
    public virtual nint Pwrite(ulong buffer, nuint count, long offset, IUserMemory user) => -Errno.EINVAL;

    /// <summary>mmap(2) of <paramref name="length"/> bytes from <paramref name="offset"/>: the address, or -errno.</summary>
    /// <param name="address">The hint, or the place with MAP_FIXED.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="protection">PROT_* of <see cref="Libc"/>.</param>
    /// <param name="flags">MAP_* of <see cref="Libc"/>.</param>
    /// <param name="offset">Offset in the file.</param>
    public virtual nint Mmap(nint address, nuint length, int protection, int flags, long offset) => -Errno.ENODEV;

    /// <summary>
    /// mmap(2) in another process, which must be done by its own mmap: the memory file to map, with the bytes at the offset that was passed there.
    /// </summary>
    /// <param name="length">Bytes.</param>
    /// <param name="protection">PROT_* of <see cref="Libc"/>.</param>
    /// <param name="flags">MAP_* of <see cref="Libc"/>.</param>
    /// <param name="offset">Offset in the file.</param>
    /// <param name="descriptor">The memory file; it stays this file's.</param>
    /// <returns>0, or what <see cref="Mmap"/> answers.</returns>
    public virtual int MapSource(nuint length, int protection, int flags, long offset, out int descriptor)
    {
        descriptor = -1;
        return (int)Mmap(0, length, protection, flags, offset);
    }

    /// <summary>
    /// What a mapping from <paramref name="offset"/> keeps open, with a reference taken (vm_ops open): the file, or something that holds more.
    /// </summary>
    public virtual SimulatedFile ForMapping(long offset)
    {
        Get();
        return this;
    }

    /// <summary>The last reference is gone: the file lets go of everything it holds.</summary>
    protected virtual void Release()
    {
    }
}
