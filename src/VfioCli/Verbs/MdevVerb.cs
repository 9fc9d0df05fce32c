using CommandLine;
using CommandLine.Text;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio mdev</c>.</summary>
[Verb("mdev",
    HelpText = "Mediated devices: mdev list, mdev types, mdev define UUID PARENT TYPE, mdev start UUID [PARENT TYPE], mdev stop UUID, mdev"
        + " forget UUID.")]
internal sealed class MdevVerb : HostVerb
{
    private const string Parents = "/sys/class/mdev_bus", Devices = "/sys/bus/mdev/devices";

    /// <summary>What to do.</summary>
    [Value(0, MetaName = "list|types|define|start|stop|forget", HelpText = "What to do; list without anything.")]
    public IEnumerable<string> Words { get; set; } = [];

    /// <summary>Where definitions are.</summary>
    [Option("root", Default = "/", MetaValue = "DIR", HelpText = "Keep definitions below this directory instead of / (they are in etc/vfio/mdev.d).")]
    public string Root { get; set; } = "/";

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
        [Example("A device of the sample parent mtty", new MdevVerb { Words = ["start", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "mtty", "mtty-2"] })];

    /// <inheritdoc/>
    public override ExitCode Run(Session session) => (string[])[.. Words] switch
    {
        [] or ["list"] => List(session),
        ["types"] => Types(session),
        ["define", var uuid, var parent, var type] => Define(session, Uuid(uuid), parent, type),
        ["start", var uuid] => Start(session, Uuid(uuid), null, null),
        ["start", var uuid, var parent, var type] => Start(session, Uuid(uuid), parent, type),
        ["stop", var uuid] => Stop(session, Uuid(uuid)),
        ["forget", var uuid] => Forget(session, Uuid(uuid)),
        var words => throw new CommandFailure(ExitCode.Usage, $"`vfio mdev {string.Join(' ', words)}` is not complete or not known.",
            "It is mdev list, types, define UUID PARENT TYPE, start UUID [PARENT TYPE], stop UUID, or forget UUID."),
    };

    private string DefinitionOf(string uuid) => Path.Combine(Root, "etc/vfio/mdev.d", uuid);

    private static string Uuid(string text) => Guid.TryParse(text, out Guid uuid) ? uuid.ToString()
        : throw new CommandFailure(ExitCode.Usage, $"'{text}' is not a UUID.",
            "Write it as 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001; `uuidgen` makes one.");

    private ExitCode List(Session session)
    {
        List<(string Uuid, string State, string Parent, string Type, string? Group, string? Node)> devices = [];
        foreach (string uuid in session.Sysfs.Entries(Devices))
        {
            string path = $"{Devices}/{uuid}";
            string? type = session.Sysfs.LinkName(path + "/mdev_type");
            string parent = session.Sysfs.Entries(Parents).FirstOrDefault(each => session.Sysfs.Exists($"{Parents}/{each}/{uuid}")) ?? "?";
            string? node = session.Sysfs.Entries(path + "/vfio-dev").FirstOrDefault();
            devices.Add((uuid, "started", parent, type ?? "?", session.Sysfs.LinkName(path + "/iommu_group"),
                node is null ? null : "/dev/vfio/devices/" + node));
        }

        string directory = Path.Combine(Root, "etc/vfio/mdev.d");
        foreach (string file in (string[])[.. Directory.Exists(directory) ? Directory.GetFiles(directory) : Array.Empty<string>()])
        {
            string uuid = Path.GetFileName(file);
            if (devices.All(device => device.Uuid != uuid) && Definition(uuid) is { } definition)
            {
                devices.Add((uuid, "defined", definition.Parent, definition.Type, null, null));
            }
        }

        if (Json)
        {
            session.WriteJson("vfio.mdev/1", writer =>
            {
                writer.WriteStartArray("devices");
                foreach ((string uuid, string state, string parent, string type, string? group, string? node) in devices)
                {
                    writer.WriteStartObject();
                    writer.WriteString("uuid", uuid);
                    writer.WriteString("state", state);
                    writer.WriteString("parent", parent);
                    writer.WriteString("type", type);
                    writer.WriteString("group", group);
                    writer.WriteString("node", node);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
            return ExitCode.Ok;
        }

        Table table = new("UUID", "STATE", "PARENT", "TYPE", "GROUP", "NODE");
        foreach ((string uuid, string state, string parent, string type, string? group, string? node) in devices)
        {
            table.Add(uuid, state, parent, type, group, node);
        }

        session.Terminal.Print(table);
        return ExitCode.Ok;
    }

    private ExitCode Types(Session session)
    {
        List<(string Parent, string Type, string? Name, string? Api, string? Available)> types = [];
        foreach (string parent in session.Sysfs.Entries(Parents))
        {
            foreach (string type in session.Sysfs.Entries($"{Parents}/{parent}/mdev_supported_types"))
            {
                string path = $"{Parents}/{parent}/mdev_supported_types/{type}";
                types.Add((parent, type, session.Sysfs.Attribute(path + "/name"), session.Sysfs.Attribute(path + "/device_api"),
                    session.Sysfs.Attribute(path + "/available_instances")));
            }
        }

        if (Json)
        {
            session.WriteJson("vfio.mdev-types/1", writer =>
            {
                writer.WriteStartArray("types");
                foreach ((string parent, string type, string? name, string? api, string? available) in types)
                {
                    writer.WriteStartObject();
                    writer.WriteString("parent", parent);
                    writer.WriteString("type", type);
                    writer.WriteString("name", name);
                    writer.WriteString("deviceApi", api);
                    writer.WriteString("available", available);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
            return ExitCode.Ok;
        }

        Table table = new("PARENT", "TYPE", "NAME", "API", "AVAILABLE");
        foreach ((string parent, string type, string? name, string? api, string? available) in types)
        {
            table.Add(parent, type, name, api, available);
        }

        session.Terminal.Print(table);
        return ExitCode.Ok;
    }

    private ExitCode Define(Session session, string uuid, string parent, string type)
    {
        _ = TypePath(session, parent, type);
        EtcFile.Write(DefinitionOf(uuid), $"{parent}\t{type}\n");
        session.Terminal.Line($"{uuid}: defined as {type} of {parent}; `vfio mdev start {uuid}` starts it");
        return Json ? List(session) : ExitCode.Ok;
    }

    private ExitCode Forget(Session session, string uuid)
    {
        if (Definition(uuid) is null)
        {
            throw new CommandFailure(ExitCode.NotFound, $"{uuid} is not defined.", "`vfio mdev list` shows what is.");
        }

        EtcFile.Delete(DefinitionOf(uuid));
        session.Terminal.Line($"{uuid}: forgotten");
        return Json ? List(session) : ExitCode.Ok;
    }

    private ExitCode Start(Session session, string uuid, string? parent, string? type)
    {
        (string Parent, string Type) definition = parent is not null && type is not null ? (parent, type)
            : Definition(uuid) ?? throw new CommandFailure(ExitCode.NotFound, $"{uuid} is not defined.",
                "Give its parent and type: `vfio mdev start UUID PARENT TYPE`; `vfio mdev types` lists them.");
        if (session.Sysfs.Exists($"{Devices}/{uuid}"))
        {
            throw new CommandFailure(ExitCode.Busy, $"{uuid} is started already.", "`vfio mdev list` shows it.");
        }

        string path = TypePath(session, definition.Parent, definition.Type);
        Check(session.Sysfs.WriteText(path + "/create", uuid), uuid, path + "/create", definition.Type);
        string? node = session.Sysfs.Entries($"{Devices}/{uuid}/vfio-dev").FirstOrDefault();
        session.Terminal.Line($"{uuid}: started as {definition.Type} of {definition.Parent}{(node is null ? "" : ", /dev/vfio/devices/" + node)}");
        return Json ? List(session) : ExitCode.Ok;
    }

    private ExitCode Stop(Session session, string uuid)
    {
        if (!session.Sysfs.Exists($"{Devices}/{uuid}"))
        {
            throw new CommandFailure(ExitCode.NotFound, $"{uuid} is not started.", "`vfio mdev list` shows what is.");
        }

        // The write waits in the kernel until the last program has closed the device.
        string[] nodes = [.. session.Sysfs.Entries($"{Devices}/{uuid}/vfio-dev").Select(static name => "/dev/vfio/devices/" + name),
            .. session.Sysfs.LinkName($"{Devices}/{uuid}/iommu_group") is { } group ? ["/dev/vfio/" + group] : Array.Empty<string>()];
        if (DeviceHolder.Of(session.Sysfs, nodes, out _) is [var holder, ..])
        {
            throw new CommandFailure(ExitCode.Busy, $"{holder} has {uuid} open.",
                "End that program first: the kernel would wait for it. Nothing was changed.");
        }

        Check(session.Sysfs.WriteText($"{Devices}/{uuid}/remove", "1"), uuid, $"{Devices}/{uuid}/remove", "");
        session.Terminal.Line($"{uuid}: stopped");
        return Json ? List(session) : ExitCode.Ok;
    }

    private static string TypePath(Session session, string parent, string type)
    {
        if (!session.Sysfs.Exists($"{Parents}/{parent}"))
        {
            throw new CommandFailure(ExitCode.NotFound, $"there is no parent of mediated devices '{parent}'.",
                session.Sysfs.Entries(Parents) is { Length: > 0 } parents
                    ? $"There is {string.Join(", ", parents)}"
                    : "There is none: is the parent's driver loaded?");
        }

        string path = $"{Parents}/{parent}/mdev_supported_types/{type}";
        return session.Sysfs.Exists(path) ? path
            : throw new CommandFailure(ExitCode.NotFound, $"{parent} has no type '{type}'.",
                $"It has {string.Join(", ", session.Sysfs.Entries($"{Parents}/{parent}/mdev_supported_types"))}.");
    }

    private (string Parent, string Type)? Definition(string uuid) =>
        File.Exists(DefinitionOf(uuid)) && File.ReadAllText(DefinitionOf(uuid)).TrimEnd('\n').Split('\t') is [var parent, var type]
            ? (parent, type)
            : null;

    private static void Check(int result, string uuid, string path, string type)
    {
        if (result >= 0)
        {
            return;
        }

        (string cause, string remedy, ExitCode code) = -result switch
        {
            Errno.EACCES or Errno.EPERM => ("this user may not change mediated devices", "Run the command as root.", ExitCode.Permission),
            Errno.EROFS => ("this host is read-only", "A capture can be looked at, not changed.", ExitCode.Unsupported),
            Errno.EEXIST => ("a device of that UUID exists", "Take another UUID.", ExitCode.Busy),
            Errno.ENOSPC =>
                ($"no more instances of {type} are available", "Stop others first; `vfio mdev types` shows what is left.", ExitCode.Refused),
            _ => ($"the parent refuses ({Errno.Name(-result)})", "`dmesg` tells why.", ExitCode.Refused),
        };
        throw new CommandFailure(code, $"{uuid}: {cause}.", remedy) { Errno = -result, Evidence = [$"{path}={Errno.Name(-result)}"] };
    }
}
