using System.Globalization;
using CommandLine;
using CommandLine.Text;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Output;

namespace VfioCli.Verbs;

/// <summary><c>vfio vf</c>.</summary>
[Verb("vf", HelpText = "SR-IOV: vf create BDF N, vf delete BDF, vf show BDF, vf token (make a VF token).")]
internal sealed class VfVerb : HostVerb
{
    /// <summary>What to do.</summary>
    [Value(0, MetaName = "create|delete|show|token", Required = true, HelpText = "What to do.")]
    public string Action { get; set; } = "";

    /// <summary>With what.</summary>
    [Value(1, MetaName = "BDF N", HelpText = "The physical function, and for create the number of VFs.")]
    public IEnumerable<string> Words { get; set; } = [];

    /// <summary>Keeps host drivers away.</summary>
    [Option("no-driver", HelpText = "create: let no host driver bind the new VFs, so that they are ready for VFIO.")]
    public bool NoDriver { get; set; }

    /// <summary>Deletes VFs in use.</summary>
    [Option("force", HelpText = "delete: also when programs have VFs open; they lose them.")]
    public bool Force { get; set; }

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
        [Example("Two VFs, left to VFIO", new VfVerb { Action = "create", Words = ["0000:01:00.0", "2"], NoDriver = true })];

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        string[] words = [.. Words];
        switch (Action, words.Length)
        {
            case ("token", 0):
                return Token(session);
            case ("show", 1):
                return Show(session, Physical(session, words[0]));
            case ("create", 2):
                return Create(session, Physical(session, words[0]), words[1]);
            case ("delete", 1):
                return Delete(session, Physical(session, words[0]));
            default:
                throw new CommandFailure(ExitCode.Usage, $"`vfio vf {string.Join(' ', [Action, .. words])}` is not complete or not known.",
                    "It is vf create BDF N, vf delete BDF, vf show BDF, or vf token.");
        }
    }

    private ExitCode Token(Session session)
    {
        string token = Guid.NewGuid().ToString();
        if (Json)
        {
            session.WriteJson("vfio.vf-token/1", writer => writer.WriteString("token", token));
        }

        session.Terminal.Line(token);
        return ExitCode.Ok;
    }

    private static PciFunction Physical(Session session, string text)
    {
        PciFunction function = session.Function(text);
        return session.Sysfs.Exists(function.Path + "/sriov_totalvfs") ? function
            : throw new CommandFailure(ExitCode.Unsupported, $"{function.Address} has no SR-IOV.",
                session.Sysfs.LinkName(function.Path + "/physfn") is { } physical
                    ? $"It is itself a VF of {physical}."
                    : "`vfio show` lists the capabilities of a function.");
    }

    private ExitCode Create(Session session, PciFunction function, string text)
    {
        long total = session.Sysfs.Number(function.Path + "/sriov_totalvfs") ?? 0, now = session.Sysfs.Number(function.Path + "/sriov_numvfs") ?? 0;
        if (!long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long count) || count < 1 || count > total)
        {
            throw new CommandFailure(ExitCode.Usage, $"'{text}' is not a number of VFs for {function.Address}.", $"It can have 1 to {total}.");
        }

        if (now != 0)
        {
            throw new CommandFailure(ExitCode.Busy, $"{function.Address} has {now} VFs, and the number can only be changed from 0.",
                $"`vfio vf delete {function.Address}` first.");
        }

        string autoprobe = function.Path + "/sriov_drivers_autoprobe";
        string? before = session.Sysfs.Attribute(autoprobe);
        if (NoDriver)
        {
            Check(session.Sysfs.WriteText(autoprobe, "0"), function, autoprobe);
        }

        string path = function.Path + "/sriov_numvfs";
        int result = session.Sysfs.WriteText(path, count.ToString(CultureInfo.InvariantCulture));
        if (NoDriver && before is "1")
        {
            _ = session.Sysfs.WriteText(autoprobe, before); // the parameter is the function's, not ours to keep
        }

        Check(result, function, path);
        return Show(session, function);
    }

    private ExitCode Delete(Session session, PciFunction function)
    {
        List<string> nodes = [.. Vfs(session, function).Select(static vf => vf.DeviceNode).OfType<string>()];
        IReadOnlyList<DeviceHolder> holders = DeviceHolder.Of(session.Sysfs, nodes, out _);
        if (holders.Count > 0 && !Force)
        {
            throw new CommandFailure(ExitCode.Busy,
                $"VFs of {function.Address} are in use: {string.Join(", ", holders.Select(static holder => $"{holder} has {holder.Node}"))}.",
                "End these programs, or say --force. Nothing was changed.");
        }

        Check(session.Sysfs.WriteText(function.Path + "/sriov_numvfs", "0"), function, function.Path + "/sriov_numvfs");
        return Show(session, function);
    }

    private ExitCode Show(Session session, PciFunction function)
    {
        PciFunction[] vfs = [.. Vfs(session, function)];
        long total = session.Sysfs.Number(function.Path + "/sriov_totalvfs") ?? 0;
        if (Json)
        {
            session.WriteJson("vfio.vf/1", writer =>
            {
                writer.WriteString("physicalFunction", function.Address.ToString());
                writer.WriteNumber("totalVfs", total);
                writer.WriteStartArray("vfs");
                foreach (PciFunction vf in vfs)
                {
                    writer.WriteStartObject();
                    ListVerb.WriteMembers(writer, vf);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
        }

        session.Terminal.Line($"{function.Address}: {vfs.Length} of {total} VFs");
        if (vfs.Length > 0)
        {
            session.Terminal.Print(ListVerb.Table(vfs));
        }

        return ExitCode.Ok;
    }

    private static IEnumerable<PciFunction> Vfs(Session session, PciFunction function)
    {
        for (int i = 0; session.Sysfs.LinkName(string.Create(CultureInfo.InvariantCulture, $"{function.Path}/virtfn{i}")) is { } name; i++)
        {
            if (PciAddress.TryParse(name, out PciAddress address) && session.Bus.Find(address) is { } vf)
            {
                yield return vf;
            }
        }
    }

    private static void Check(int result, PciFunction function, string path)
    {
        if (result >= 0)
        {
            return;
        }

        (string cause, string remedy, ExitCode code) = -result switch
        {
            Errno.EACCES or Errno.EPERM => ("this user may not change it", "Run the command as root.", ExitCode.Permission),
            Errno.EROFS => ("this host is read-only", "A capture can be looked at, not changed.", ExitCode.Unsupported),
            Errno.ENOENT when DriverClaim.IsVfio(function.Driver) => ("vfio-pci makes VFs only when it is told that it may",
                "`echo 1 > /sys/module/vfio_pci/parameters/enable_sriov`.", ExitCode.Unsupported),
            Errno.ENOENT =>
                (function.Driver is null ? "it has no driver, and the driver makes the VFs" : $"driver {function.Driver} does not do SR-IOV",
                    "Bind the driver that does.", ExitCode.Unsupported),
            Errno.ENOSPC or Errno.ENOMEM => ("there is no room: bus numbers, address space or MSI-X vectors",
                "Ask for fewer VFs; firmware settings (SR-IOV, ARI, above 4G decoding, MSI-X budget) or pci=realloc,assign-busses may make room.",
                ExitCode.Refused),
            Errno.EBUSY => ("it has VFs already, or one is assigned", "`vfio vf delete` first.", ExitCode.Busy),
            _ => ($"the driver refuses ({Errno.Name(-result)})", "`dmesg` tells why.", ExitCode.Refused),
        };
        throw new CommandFailure(code, $"{function.Address}: {cause}.", remedy) { Errno = -result, Evidence = [$"{path}={Errno.Name(-result)}"] };
    }
}
