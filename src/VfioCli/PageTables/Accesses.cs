using IommuFd.HwSim.PageTables;

namespace VfioCli.PageTables;

/// <summary>Accesses as typed: letters of <c>rwx</c>, <c>p</c> for privileged.</summary>
internal static class Accesses
{
    /// <summary>What a request does.</summary>
    /// <exception cref="CommandFailure">Another letter.</exception>
    public static WalkAccess Walk(string text)
    {
        WalkAccess access = WalkAccess.None;
        foreach (char letter in text)
        {
            access |= letter switch
            {
                'r' => WalkAccess.Read,
                'w' => WalkAccess.Write,
                'x' => WalkAccess.Execute,
                'p' => WalkAccess.Privileged,
                '-' => WalkAccess.None,
                _ => throw Unknown(text),
            };
        }

        return access;
    }

    /// <summary>What a page allows. Pages are open to unprivileged requests and marked used, as an IOMMU driver makes them.</summary>
    /// <exception cref="CommandFailure">Another letter.</exception>
    public static PageAttributes Page(string text)
    {
        PageAttributes attributes = PageAttributes.User | PageAttributes.Accessed;
        foreach (char letter in text)
        {
            attributes |= letter switch
            {
                'r' => PageAttributes.Read,
                'w' => PageAttributes.Write | PageAttributes.Dirty,
                'x' => PageAttributes.Execute,
                _ => throw Unknown(text),
            };
        }

        return attributes;
    }

    private static CommandFailure Unknown(string text) => new(ExitCode.Usage, $"'{text}' is not an access.", "Write letters of rwx, for example rw.");
}
