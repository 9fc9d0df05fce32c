using CommandLine;
using CommandLine.Text;
using VfioCli.Capturing;

namespace VfioCli.Verbs;

/// <summary><c>vfio capture</c>.</summary>
[Verb("capture", HelpText = "Take what vfio reads of this machine into a tar file, for `vfio --host FILE.tar` at another desk.")]
internal sealed class CaptureVerb : HostVerb
{
    /// <summary>Where to.</summary>
    [Value(0, MetaName = "FILE", Default = "-", HelpText = "The tar file; - (default) is stdout.")]
    public string File { get; set; } = "-";

    /// <summary>Masks secrets.</summary>
    [Option("mask",
        HelpText = "Blank serial numbers, MAC addresses, user names in mount points, and everything on the kernel command line that is not about"
            + " IOMMU, PCI and VFIO.")]
    public bool Mask { get; set; }

    /// <summary>Examples for the help.</summary>
    [Usage(ApplicationAlias = "vfio")]
    public static IEnumerable<Example> Examples =>
        [Example("On the customer's machine, as root", new CaptureVerb { File = "host.tar", Mask = true })];

    /// <inheritdoc/>
    internal override bool WantsThisMachine => true;

    /// <inheritdoc/>
    public override ExitCode Run(Session session)
    {
        if (File == "-")
        {
            if (session.Terminal.Interactive)
            {
                throw new CommandFailure(ExitCode.Usage, "a tar file does not belong on a terminal.",
                    "`vfio capture host.tar`, or `vfio capture > host.tar`.");
            }

            using Stream output = session.Terminal.OpenBinary();
            _ = Capture.Write(session.Host, output, Mask);
            return ExitCode.Ok;
        }

        try
        {
            int files;
            using (FileStream output = new(File, FileMode.Create, FileAccess.Write))
            {
                files = Capture.Write(session.Host, output, Mask);
            }

            if (Json)
            {
                session.WriteJson("vfio.capture/1", writer =>
                {
                    writer.WriteString("file", File);
                    writer.WriteNumber("entries", files);
                    writer.WriteBoolean("masked", Mask);
                });
            }

            session.Terminal.Line($"{File}: {files} entries{(Mask ? ", masked" : "")}");
            return ExitCode.Ok;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CommandFailure(exception is DirectoryNotFoundException ? ExitCode.NotFound : ExitCode.Permission,
                $"{File} cannot be written: {exception.Message.TrimEnd('.')}.", "Name a file in a directory that this user may write to.");
        }
    }
}
