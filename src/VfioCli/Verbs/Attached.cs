using IommuFd;
using IommuFd.Sysfs;
using VfioCli.CommandLine;

namespace VfioCli.Verbs;

/// <summary>Functions bound to one context, attached to one address space, with memory mapped. Disposing undoes it in the opposite order.</summary>
internal sealed class Attached : IDisposable
{
    private readonly Stack<IDisposable> _resources = new();
    private readonly List<BoundDevice> _devices = [];
    private readonly List<Attachment> _attachments = [];
    private readonly List<Mapping> _mappings = [];

    private Attached(IommuContext context, IoAddressSpace space)
    {
        Context = context;
        Space = space;
    }

    /// <summary>The context.</summary>
    public IommuContext Context { get; }

    /// <summary>The address space.</summary>
    public IoAddressSpace Space { get; }

    /// <summary>The functions.</summary>
    public IReadOnlyList<BoundDevice> Devices => _devices;

    /// <summary>Their attachments, in the same order.</summary>
    public IReadOnlyList<Attachment> Attachments => _attachments;

    /// <summary>The mappings asked for.</summary>
    public IReadOnlyList<Mapping> Mappings => _mappings;

    /// <summary>Does it all.</summary>
    /// <exception cref="IommuFdException">The kernel refused; what was done is undone.</exception>
    /// <exception cref="CommandFailure">A mapping is not possible.</exception>
    public static Attached Make(Session session, IReadOnlyList<PciFunction> functions, ulong cookie, Guid? token, IReadOnlyList<MapText> maps)
    {
        Stack<IDisposable> resources = new();
        try
        {
            // A kernel with /dev/iommu and without character devices still has the groups.
            bool container = functions.Any(function => session.Bus.Find(function.Address) is { HasDeviceNode: false, Group: { } group }
                && session.Sysfs.Exists($"/dev/vfio/{group}"));
            IommuContext context = Keep(session.Iommu.OpenContext(container ? ContextKind.Container : null));
            IoAddressSpace space = Keep(context.CreateAddressSpace());
            Attached attached = new(context, space);
            foreach (PciFunction function in functions)
            {
                VfioDeviceFile file = Keep(session.Iommu.OpenDevice(function.Address));
                attached._devices.Add(Keep(file.Bind(context, cookie++, token)));
                attached._attachments.Add(Keep(attached._devices[^1].Attach(space)));
            }

            foreach (MapText map in maps)
            {
                Check(space, map);
                DmaBuffer buffer = Keep(session.Iommu.AllocateBuffer(map.Size, new DmaBufferOptions { PageSize = PageSize(map.Size) }));
                attached._mappings.Add(Keep(map.Iova is { } iova
                    ? space.Map(buffer, 0, map.Size, DmaAccess.ReadWrite, iova)
                    : space.Map(buffer, 0, map.Size, DmaAccess.ReadWrite, null)));
            }

            foreach (IDisposable resource in resources.Reverse())
            {
                attached._resources.Push(resource);
            }

            resources.Clear();
            return attached;
        }
        finally
        {
            Free(resources);
        }

        T Keep<T>(T resource)
            where T : IDisposable
        {
            resources.Push(resource);
            return resource;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Free(_resources);

    private static void Free(Stack<IDisposable> resources)
    {
        while (resources.TryPop(out IDisposable? resource))
        {
            resource.Dispose();
        }
    }

    private static ulong PageSize(ulong size) =>
        size % DmaBufferOptions.Page1G == 0
            ? DmaBufferOptions.Page1G
            : size % DmaBufferOptions.Page2M == 0 ? DmaBufferOptions.Page2M
            : DmaBufferOptions.Page4K;

    // What the kernel would answer with a bare EINVAL.
    private static void Check(IoAddressSpace space, MapText map)
    {
        if (map.Size % space.Alignment != 0 || (map.Iova ?? 0) % space.Alignment != 0)
        {
            (string what, ulong value) = map.Size % space.Alignment != 0 ? ("size", map.Size) : ("IOVA", map.Iova ?? 0);
            ulong down = value / space.Alignment * space.Alignment;
            throw new CommandFailure(ExitCode.Usage,
                $"{what} 0x{value:x} is not a multiple of {NumberText.Size(space.Alignment)}, the smallest page of this address space.",
                $"Use 0x{(down == 0 ? space.Alignment : down):x}. Nothing was mapped.");
        }

        if (map.Iova is { } iova && !space.PermittedRanges.Any(range => range.Contains(iova, map.Size)))
        {
            throw new CommandFailure(
                ExitCode.Usage,
                $"IOVA 0x{iova:x}-0x{iova + (map.Size - 1):x} is not inside a permitted range ({string.Join(", ", space.PermittedRanges)}).",
                "Leave out @IOVA to let the kernel choose. Nothing was mapped.");
        }
    }
}
