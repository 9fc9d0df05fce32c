using IommuFd.Native;
using IommuFd.Sysfs;

namespace IommuFd;

/// <summary>The machine a program works on: the running kernel, a simulated machine or a captured one. Everything else is opened from here.</summary>
/// <example><code>
/// using IommuHost host = IommuHost.Open();
/// using IommuContext context = host.OpenContext();
/// using VfioDeviceFile file = host.OpenDevice(PciAddress.Parse("0000:00:04.0"));
/// using BoundDevice device = file.Bind(context, cookie: 1);
/// using IoAddressSpace space = context.CreateAddressSpace();
/// using Attachment attachment = device.Attach(space);
/// using DmaBuffer buffer = host.AllocateBuffer(4096);
/// using Mapping mapping = space.Map(buffer, DmaAccess.ReadWrite);
/// </code></example>
public sealed class IommuHost : IDisposable
{
    private readonly Lock _gate = new();
    private readonly bool _owns;
    private Reactor? _reactor;
    private ContextKind? _interface; // null until it was asked
    private bool _disposed;

    private IommuHost(IHost host, string reason, bool owns)
    {
        Host = host;
        Reason = reason;
        _owns = owns;
    }

    /// <summary>The seam underneath.</summary>
    public IHost Host { get; }

    /// <summary>What the machine is.</summary>
    public HostKind Kind => Host.Kind;

    /// <summary>One line for people: kernel release, topology or capture.</summary>
    public string Description => Host.Description;

    /// <summary>Why this host was taken, as a sentence: a fall-back is never silent.</summary>
    public string Reason { get; }

    /// <summary>Whether the simulator stands in for a kernel that did not answer.</summary>
    public bool IsFallback { get; private init; }

    /// <summary>The machine's files.</summary>
    public ISysfs Sysfs => Host.Sysfs;

    internal IKernel Kernel => Host.Kernel;

    /// <summary>The thread that waits for this host's descriptors; started with the first wait.</summary>
    internal Reactor Reactor
    {
        get
        {
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                return _reactor ??= new Reactor(Host.Kernel);
            }
        }
    }

    /// <summary>Which <c>/dev/iommu</c> this machine has, asked once by its first descriptor.</summary>
    internal ContextKind InterfaceOf(IommuFdHandle handle)
    {
        lock (_gate)
        {
            return _interface ??= IommuContext.Probe(handle);
        }
    }

    /// <summary>Opens the selected host; without a selection <c>VFIO_HOST</c> decides, and without that <see cref="HostSelection.Auto"/>.</summary>
    /// <exception cref="IommuFdException">The capture or topology cannot be read.</exception>
    public static IommuHost Open(HostSelection? selection = null)
    {
        (IHost host, string reason, bool fallback) = HostSelector.Select(selection ?? HostSelection.Auto,
            Environment.GetEnvironmentVariable(HostSelection.Variable));
        return new IommuHost(host, reason, owns: true) { IsFallback = fallback };
    }

    /// <summary>Uses a host that the caller made, for example a simulated machine or a host behind a <see cref="TracingHost"/>.</summary>
    /// <param name="host">The host.</param>
    /// <param name="reason">Shown as <see cref="Reason"/>.</param>
    /// <param name="leaveOpen">True: the caller disposes <paramref name="host"/>.</param>
    public static IommuHost Over(IHost host, string reason = "given by the caller", bool leaveOpen = true)
    {
        ArgumentNullException.ThrowIfNull(host);
        return new IommuHost(host, reason, !leaveOpen);
    }

    /// <summary>Opens <c>/dev/iommu</c>, or on a kernel without it legacy VFIO; <see cref="IommuContext.Kind"/> says which.</summary>
    /// <param name="kind">The interface wanted, or null for the best there is.</param>
    /// <exception cref="IommuFdException">It is missing or may not be opened.</exception>
    public IommuContext OpenContext(ContextKind? kind = null)
    {
        int fd = kind == ContextKind.Container ? -Errno.ENOENT : Kernel.Open("/dev/iommu", Libc.O_RDWR | Libc.O_CLOEXEC, 0);
        bool legacy = kind == ContextKind.Container || (kind is null && fd == -Errno.ENOENT && Sysfs.Status("/dev/vfio/vfio", out _) >= 0);
        IommuContext context = legacy ? IommuContext.OverContainers(this)
            : fd >= 0 ? IommuContext.Adopt(this, fd)
            : throw Failure.Of("open /dev/iommu", fd);
        if (kind is { } wanted && context.Kind != wanted)
        {
            ContextKind found = context.Kind;
            context.Dispose();
            throw Failure.Because(
                "open /dev/iommu", Errno.EOPNOTSUPP, FailureCause.NotSupported,
                wanted == ContextKind.Rfc ? "it is mainline's, not the proposal's of 2021" : "it is the proposal's of 2021, not mainline's",
                wanted == ContextKind.Rfc ? "The simulator's machine 'rfc' has the proposal's."
                    : "Leave the interface open, or use a mainline kernel.", new Evidence("interface", $"{found}"));
        }

        return context;
    }

    /// <summary>
    /// Opens a PCI function's VFIO character device, <c>/dev/vfio/devices/vfioN</c>, or finds its group where the kernel has none. Nothing can be
    /// done with it before it is bound.
    /// </summary>
    /// <exception cref="IommuFdException">The function does not exist, is not bound to a VFIO driver, or may not be opened.</exception>
    public VfioDeviceFile OpenDevice(PciAddress address) => VfioDeviceFile.Open(this, address);

    /// <summary>Opens a VFIO character device by its path; for devices that are not PCI functions.</summary>
    /// <exception cref="IommuFdException">It is missing or may not be opened.</exception>
    public VfioDeviceFile OpenDevice(string path) => VfioDeviceFile.Open(this, path, null);

    /// <summary>Allocates memory that devices can be given: page-granular, outside the garbage collector's heap.</summary>
    /// <param name="length">Bytes, rounded up to the page size obtained.</param>
    /// <param name="options">Page size, node and backing; null for anonymous memory of small pages.</param>
    /// <exception cref="IommuFdException">No memory.</exception>
    public DmaBuffer AllocateBuffer(ulong length, DmaBufferOptions? options = null) =>
        DmaBuffer.Allocate(this, length, options ?? new DmaBufferOptions());

    /// <summary>
    /// Stops the waiting thread and releases the host. Objects opened from it stay valid until they are disposed, but can no longer be waited for.
    /// </summary>
    public void Dispose()
    {
        Reactor? reactor;
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            reactor = _reactor;
        }

        reactor?.Dispose();
        if (_owns)
        {
            Host.Dispose();
        }
    }
}
