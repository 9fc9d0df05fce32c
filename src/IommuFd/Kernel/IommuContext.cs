using System.Runtime.CompilerServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.Native.Uapi.Iommufd;

namespace IommuFd;

/// <summary>
/// An open <c>/dev/iommu</c>: the kernel objects of one user of the IOMMU, and one method per command that makes one or belongs to the context itself
/// (Documentation/userspace-api/iommufd.rst).
/// </summary>
public sealed unsafe partial class IommuContext : Resource
{
    private readonly IommuFdHandle? _handle; // null over containers

    private IommuContext(IommuHost host, IommuFdHandle? handle)
    {
        Host = host;
        _handle = handle;
        Kind = handle is null ? ContextKind.Container : host.InterfaceOf(handle);
        Groups = handle is null ? new ContainerGroups(host) : null;
    }

    /// <summary>
    /// The kernel interface underneath, found by asking the descriptor and not by the kernel's version. Except on <see cref="ContextKind.Iommufd"/>
    /// the methods of this class that make kernel objects are refused: ENOTTY.
    /// </summary>
    public ContextKind Kind { get; }

    /// <summary>The machine it was opened on.</summary>
    public IommuHost Host { get; }

    internal IommuFdHandle Handle => _handle ?? throw Failure.Because(
        "use /dev/iommu", Errno.ENOTTY, FailureCause.CommandUnknown, "this context is over legacy VFIO containers", "Use a kernel with /dev/iommu.");

    internal override DescriptorHandle? Descriptor => _handle;

    /// <summary>Over containers, else null.</summary>
    internal ContainerGroups? Groups { get; }

    /// <summary>
    /// Adopts an open descriptor of <c>/dev/iommu</c>, for example one received from another process; it is closed with the context.
    /// </summary>
    public static IommuContext Adopt(IommuHost host, int descriptor)
    {
        ArgumentNullException.ThrowIfNull(host);
        return new IommuContext(host, new IommuFdHandle(host.Kernel, descriptor));
    }

    /// <summary>A context over legacy VFIO; a container is opened for each group that is bound to it.</summary>
    internal static IommuContext OverContainers(IommuHost host) => host.Kernel.Open("/dev/vfio/vfio", Libc.O_RDWR | Libc.O_CLOEXEC, 0) switch
    {
        int fd and >= 0 when host.Kernel.Close(fd) >= -Errno.EINTR => new IommuContext(host, null),
        int fd => throw Failure.Of("open /dev/vfio/vfio", fd),
    };

    /// <summary>IOMMU_IOAS_ALLOC: makes an empty I/O address space.</summary>
    /// <exception cref="IommuFdException">No memory.</exception>
    public Ioas AllocateIoas()
    {
        Enter();
        iommu_ioas_alloc command = new() { size = (uint)sizeof(iommu_ioas_alloc) };
        int result = Call(IOMMU_IOAS_ALLOC, ref command);
        if (result < 0)
        {
            Exit();
            throw Failure.Of(nameof(IOMMU_IOAS_ALLOC), result);
        }

        return new Ioas(this, command.out_ioas_id);
    }

    /// <summary>
    /// IOMMU_OPTION of RLIMIT_MODE: whether pinned memory counts against the process (true) or against all processes of the user (false, the
    /// default).
    /// </summary>
    /// <exception cref="IommuFdException">Not known to this kernel.</exception>
    public bool GetRlimitMode() => GetOption(iommufd_option.IOMMU_OPTION_RLIMIT_MODE, 0) != 0;

    /// <summary>IOMMU_OPTION of RLIMIT_MODE: sets the accounting; needs CAP_SYS_RESOURCE and must come before the first object.</summary>
    /// <exception cref="IommuFdException">Not permitted, or too late.</exception>
    public void SetRlimitMode(bool perProcess) => SetOption(iommufd_option.IOMMU_OPTION_RLIMIT_MODE, 0, perProcess ? 1u : 0u);

    /// <summary>
    /// IOMMU_IOAS_CHANGE_PROCESS: moves the accounting of all pinned memory to this process; for a context that was inherited or received.
    /// </summary>
    /// <exception cref="IommuFdException">Some mapping is not of a file, or the kernel is older than 6.14.</exception>
    public void ChangeProcess()
    {
        iommu_ioas_change_process command = new() { size = (uint)sizeof(iommu_ioas_change_process) };
        Check(IOMMU_IOAS_CHANGE_PROCESS, ref command, nameof(IOMMU_IOAS_CHANGE_PROCESS));
    }

    /// <summary>IOMMU_VFIO_IOAS with GET: the id of the address space that the VFIO container emulation uses.</summary>
    /// <exception cref="IommuFdException">None is set.</exception>
    public uint GetVfioIoas()
    {
        iommu_vfio_ioas command = new() { size = (uint)sizeof(iommu_vfio_ioas), op = (ushort)iommufd_vfio_ioas_op.IOMMU_VFIO_IOAS_GET };
        Check(IOMMU_VFIO_IOAS, ref command, nameof(IOMMU_VFIO_IOAS));
        return command.ioas_id;
    }

    /// <summary>IOMMU_VFIO_IOAS with SET or CLEAR: chooses the address space that the VFIO container emulation uses; null for none.</summary>
    /// <exception cref="IommuFdException">The address space does not exist.</exception>
    public void SetVfioIoas(Ioas? ioas)
    {
        iommu_vfio_ioas command = new()
        {
            size = (uint)sizeof(iommu_vfio_ioas),
            ioas_id = ioas?.Id ?? 0,
            op = (ushort)(ioas is null ? iommufd_vfio_ioas_op.IOMMU_VFIO_IOAS_CLEAR : iommufd_vfio_ioas_op.IOMMU_VFIO_IOAS_SET),
        };
        Check(IOMMU_VFIO_IOAS, ref command, nameof(IOMMU_VFIO_IOAS));
    }

    internal ulong GetOption(iommufd_option option, uint objectId)
    {
        iommu_option command = new()
        {
            size = (uint)sizeof(iommu_option),
            option_id = (uint)option,
            op = (ushort)iommufd_option_ops.IOMMU_OPTION_OP_GET,
            object_id = objectId,
        };
        Check(IOMMU_OPTION, ref command, nameof(IOMMU_OPTION));
        return command.val64;
    }

    internal void SetOption(iommufd_option option, uint objectId, ulong value)
    {
        iommu_option command = new()
        {
            size = (uint)sizeof(iommu_option),
            option_id = (uint)option,
            op = (ushort)iommufd_option_ops.IOMMU_OPTION_OP_SET,
            object_id = objectId,
            val64 = value,
        };
        Check(IOMMU_OPTION, ref command, nameof(IOMMU_OPTION));
    }

    /// <summary>IOMMU_DESTROY. Objects call it when their last dependant is gone; 0 or -errno.</summary>
    internal int Destroy(uint id)
    {
        iommu_destroy command = new() { size = (uint)sizeof(iommu_destroy), id = id };
        return Call(IOMMU_DESTROY, ref command);
    }

    internal int Call<T>(uint request, ref T command)
        where T : unmanaged => _handle is null ? -Errno.ENOTTY : _handle.Ioctl(request, ref command);

    /// <summary>
    /// The same for an object of this context that is held for the length of the call, and so holds the context and its descriptor.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal int HeldCall<T>(uint request, ref T command)
        where T : unmanaged => _handle is null ? -Errno.ENOTTY : _handle.IoctlHeld(request, ref command);

    private void Check<T>(uint request, ref T command, string name)
        where T : unmanaged
    {
        Enter();
        int result = Call(request, ref command);
        Exit();
        _ = Failure.Check(result, name);
    }

    private protected override void Free() => _handle?.Dispose();
}
