using System.Globalization;
using CommandLine;
using CommandLine.Text;
using VfioCli.CommandLine;
using VfioCli.Diagnosis;

namespace VfioCli.Verbs;

/// <summary><c>vfio doctor</c>.</summary>
[Verb("doctor",
    HelpText = "Check everything that passthrough needs: firmware, kernel, modules, nodes, permissions, limits; each with evidence and remedy.")]
internal sealed class DoctorVerb : HostVerb
{
    /// <summary>For whom.</summary>
    [Option("user", MetaValue = "USER", HelpText = "Check for this user instead of the one who runs the command.")]
    public string? User { get; set; }

    /// <summary>How many devices.</summary>
    [Option("devices", Default = 1, MetaValue = "N", HelpText = "How many address spaces are to be filled, for the limit of locked memory.")]
    public int Devices { get; set; } = 1;

    /// <summary>How much memory.</summary>
    [Option("memory", Default = "1G", MetaValue = "SIZE", HelpText = "How much memory is to be mapped into each.")]
    public string Memory { get; set; } = "1G";

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
        [Example("Can user qemu give two devices to a guest of 16 GiB?", new DoctorVerb { User = "qemu", Devices = 2, Memory = "16G" })];

    /// <inheritdoc/>
    internal override bool WantsThisMachine => true;

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        ulong memory = NumberText.Parse(Memory, "the memory");
        if (Devices is < 1 or > 4096)
        {
            throw new CommandFailure(ExitCode.Usage, $"--devices {Devices} is not a number of devices.", "Give 1 to 4096.");
        }

        Account account = User is null ? Accounts.Current(session.Host)
            : Accounts.Find(session.Host, User) ?? throw new CommandFailure(ExitCode.NotFound,
                $"there is no user {User} on {session.Host.Description}.", "Give a name or a number from /etc/passwd.");
        IReadOnlyList<Check> checks = new Doctor(session, account, User is null, Devices, memory).Run();
        if (Json)
        {
            session.WriteJson("vfio.doctor/1", writer => Check.Write(writer, "checks", checks));
        }

        Check.Print(session.Terminal, checks);
        int failed = checks.Count(static check => check.Result == CheckResult.Fail),
            warned = checks.Count(static check => check.Result == CheckResult.Warn);
        session.Terminal.Line(string.Create(CultureInfo.InvariantCulture, $"{checks.Count} checks, {failed} failed, {warned} warnings"));
        return failed == 0 ? ExitCode.Ok : ExitCode.No;
    }
}
