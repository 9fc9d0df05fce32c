using IommuFd.Native;

namespace IommuFd.Sysfs;

/// <summary>In what way a host uses a function.</summary>
public enum HostUseKind
{
    /// <summary>A file system on it is mounted.</summary>
    Mount,

    /// <summary>It holds swap space.</summary>
    Swap,

    /// <summary>A device-mapper or md device is built on it.</summary>
    Holder,

    /// <summary>A network interface of it has routes.</summary>
    Route,

    /// <summary>A network interface of it is up, without routes.</summary>
    Network,

    /// <summary>The firmware's or the console's framebuffer lies in one of its BARs.</summary>
    Framebuffer,

    /// <summary>A display is connected to it.</summary>
    Display,

    /// <summary>Input devices hang on it.</summary>
    Input,
}

/// <summary>One thing that the host loses when a function is given away.</summary>
/// <param name="Kind">In what way it is used.</param>
/// <param name="Name">What by: <c>nvme0n1p1</c>, <c>eth0</c>.</param>
/// <param name="Detail">Where to: a mount point, or empty.</param>
public sealed record HostUse(HostUseKind Kind, string Name, string Detail)
{
    /// <summary>Whether giving the function away loses data or the way into the host; the others are a nuisance.</summary>
    public bool IsVital => Kind is HostUseKind.Mount or HostUseKind.Swap or HostUseKind.Holder or HostUseKind.Route or HostUseKind.Framebuffer;

    /// <summary>As a clause: <c>nvme0n1p1 is mounted on /</c>.</summary>
    public override string ToString() => Kind switch
    {
        HostUseKind.Mount => $"{Name} is mounted on {Detail}",
        HostUseKind.Swap => $"{Name} is swap space",
        HostUseKind.Holder => $"{Name} is part of {Detail}",
        HostUseKind.Route => $"{Name} carries the route to {Detail}",
        HostUseKind.Network => $"{Name} is up",
        HostUseKind.Framebuffer => $"{Name} holds the framebuffer {Detail}",
        HostUseKind.Display => $"a display is connected to {Name}",
        _ => $"{Name} is an input device",
    };

    /// <summary>Finds out what the host loses with a function.</summary>
    public static IReadOnlyList<HostUse> Of(ISysfs sysfs, PciAddress address)
    {
        List<HostUse> uses = [];
        List<string> found = [];
        string path = PciBus.DevicePath(address);
        Find(sysfs, path, ["block", "net", "drm", "input", "nvme"], found, 0);
        BlockUse.Collect(sysfs, found, uses);
        Network(sysfs, found, uses);
        foreach (string directory in found.Where(static directory => directory.EndsWith("/drm", StringComparison.Ordinal)))
        {
            foreach (string card in sysfs.Entries(directory).Where(static card => card.StartsWith("card", StringComparison.Ordinal)))
            {
                uses.AddRange(sysfs.Entries($"{directory}/{card}")
                    .Where(connector => connector.StartsWith(card + "-", StringComparison.Ordinal)
                        && sysfs.Attribute($"{directory}/{card}/{connector}/status") == "connected")
                    .Select(static connector => new HostUse(HostUseKind.Display, connector, "")));
            }
        }

        foreach (string directory in found.Where(static directory => directory.EndsWith("/input", StringComparison.Ordinal)))
        {
            uses.AddRange(sysfs.Entries(directory)
                .Select(input => new HostUse(HostUseKind.Input, sysfs.Attribute($"{directory}/{input}/name") ?? input, "")));
        }

        Framebuffer(sysfs, address, uses);
        return uses;
    }

    // Directories of the given names below a function. Links are not followed: they lead out of it.
    private static void Find(ISysfs sysfs, string path, string[] names, List<string> found, int depth)
    {
        foreach (string entry in sysfs.Entries(path))
        {
            string child = path + "/" + entry;
            if (sysfs.Status(child, out PathStatus status) < 0 || status.Kind != PathKind.Directory || sysfs.ReadLink(child, out _) >= 0)
            {
                continue;
            }

            if (names.Contains(entry))
            {
                found.Add(child);
                if (entry != "nvme")
                {
                    continue;
                }
            }

            // Another PCI function below (behind a bridge) is its own.
            if (depth < 8 && !PciAddress.TryParse(entry, out _) && entry is not ("power" or "msi_irqs" or "vfio-dev" or "iommu"))
            {
                Find(sysfs, child, names, found, depth + 1);
            }
        }
    }

    private static void Network(ISysfs sysfs, List<string> found, List<HostUse> uses)
    {
        string[] routes = [.. (sysfs.Attribute("/proc/net/route") ?? "").Split('\n').Skip(1)];
        foreach (string directory in found.Where(static directory => directory.EndsWith("/net", StringComparison.Ordinal)))
        {
            foreach (string name in sysfs.Entries(directory))
            {
                // A bridge or bond that the interface belongs to has the routes in its stead.
                string? master = sysfs.LinkName($"{directory}/{name}/master");
                string[]? route = routes.Select(static line => line.Split('\t')).FirstOrDefault(fields => fields.Length > 1
                    && (fields[0] == name || fields[0] == master));
                if (route is not null)
                {
                    uses.Add(new HostUse(HostUseKind.Route, name, route[1] == "00000000" ? "everywhere (the default route)" : Dotted(route[1])));
                }
                else if ((sysfs.Number($"{directory}/{name}/flags") & 1) == 1)
                {
                    uses.Add(new HostUse(HostUseKind.Network, name, ""));
                }
            }
        }
    }

    // /proc/net/route prints the four bytes as one little-endian hexadecimal number.
    private static string Dotted(string hex) => SysfsReading.ParseNumber("0x" + hex) is { } number
        ? $"{number & 255}.{(number >> 8) & 255}.{(number >> 16) & 255}.{(number >> 24) & 255}"
        : hex;

    private static void Framebuffer(ISysfs sysfs, PciAddress address, List<HostUse> uses)
    {
        if (sysfs.Attribute("/proc/iomem") is not { } iomem)
        {
            return;
        }

        IReadOnlyList<PciResource> resources = PciResource.Read(sysfs, address);
        foreach (string line in iomem.Split('\n'))
        {
            int colon = line.IndexOf(" : ", StringComparison.Ordinal), dash = line.IndexOf('-', StringComparison.Ordinal);
            if (colon < 0 || dash < 0 || dash > colon || line[(colon + 3)..].Trim() is not { } owner
                || owner is not ("BOOTFB" or "efifb" or "simplefb" or "simple-framebuffer" or "simpledrm" or "vesafb" or "vesadrm" or "efidrm"))
            {
                continue;
            }

            // Without privilege every address reads as 0, and 0 lies in no BAR.
            if (SysfsReading.ParseNumber("0x" + line[..dash].Trim()) is { } first && first != 0
                && resources.FirstOrDefault(resource => (ulong)first >= resource.First && (ulong)first <= resource.Last) is { Length: > 1 } bar)
            {
                uses.Add(new HostUse(HostUseKind.Framebuffer, bar.Name, owner));
            }
        }
    }
}
