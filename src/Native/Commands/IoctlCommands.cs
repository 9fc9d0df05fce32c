using System.Collections.Frozen;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace IommuFd.Native;

/// <summary>All commands of the three dialects.</summary>
/// <remarks>
/// Minimum sizes are the kernel's: <c>iommufd_ioctl_ops</c> in drivers/iommu/iommufd/main.c and the <c>minsz</c> of drivers/vfio (Linux 7.3).
/// </remarks>
public static partial class IoctlCommands
{
    /// <summary>The commands of one dialect.</summary>
    /// <param name="dialect">The dialect.</param>
    /// <returns>Its table.</returns>
    public static IReadOnlyList<IoctlCommand> Of(IoctlDialect dialect) => dialect switch
    {
        IoctlDialect.Iommufd => Iommufd,
        IoctlDialect.Vfio => Vfio,
        _ => Rfc,
    };

    /// <summary>Looks a request number up.</summary>
    /// <param name="dialect">Dialect that is spoken.</param>
    /// <param name="file">Kind of file the request is made on.</param>
    /// <param name="request">Request number.</param>
    /// <param name="command">The command.</param>
    /// <returns>False when this dialect has no such command on such a file (ENOTTY).</returns>
    public static bool TryFind(IoctlDialect dialect, IoctlFile file, uint request, out IoctlCommand command)
        => Index.ByRequest.TryGetValue((dialect, file, request), out command);

    private static IoctlCommand Pointer<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicFields
        | DynamicallyAccessedMemberTypes.NonPublicFields)] T>(
        string name, uint request, IoctlFile file, KernelVersion? since, uint minimumSize = 0)
        where T : unmanaged
    {
        uint size = (uint)Unsafe.SizeOf<T>();
        return new(name, request, file, IoctlPassing.Pointer, minimumSize == 0 ? size : minimumSize, size, since, typeof(T));
    }

    private static IoctlCommand Plain(string name, uint request, IoctlFile file, KernelVersion? since, IoctlPassing passing = IoctlPassing.None)
        => new(name, request, file, passing, 0, 0, since, null);

    private static KernelVersion V(int major, int minor) => new(major, minor);

    // A class of its own, so that it is built after the tables, whatever the order of the files.
    private static class Index
    {
        internal static readonly FrozenDictionary<(IoctlDialect, IoctlFile, uint), IoctlCommand> ByRequest =
            Enum.GetValues<IoctlDialect>()
                .SelectMany(Of, (d, c) => KeyValuePair.Create((d, c.File, c.Request), c))
                .ToFrozenDictionary();
    }
}
