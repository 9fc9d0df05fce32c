using System.Text.Json;
using IommuFd;
using IommuFd.Native;
using IommuFd.Sysfs;
using VfioCli.Hosts;
using VfioCli.Output;
using Xunit;

namespace VfioCli.Tests.Support;

/// <summary>Runs the command in this process and keeps what it said.</summary>
internal sealed record Vfio(int ExitStatus, string Out, string Error)
{
    public static Vfio Run(TestMachine machine, params string[] args) => Run(machine, new MemoryBindingStore(), args);

    public static Vfio Run(TestMachine machine, IBindingStore store, params string[] args) => On(machine, store, args);

    public static Vfio On(IHost machine, IBindingStore store, params string[] args)
    {
        StringWriter output = new() { NewLine = "\n" }, error = new() { NewLine = "\n" };
        int status = Program.Run(args, new Terminal(output, error, interactive: false, colour: false),
            (_, _) => new OpenedHost(IommuHost.Over(machine), false, store));
        string all = output.ToString() + error;
        Assert.DoesNotContain("   at ", all, StringComparison.Ordinal);
        return new Vfio(status, output.ToString(), error.ToString());
    }

    public Vfio Exits(ExitCode code)
    {
        Assert.True((int)code == ExitStatus, $"exit status {ExitStatus}, wanted {(int)code}\n{Out}\n{Error}");
        return this;
    }

    public Vfio Says(string text)
    {
        Assert.Equal(text.ReplaceLineEndings("\n"), Out);
        return this;
    }

    public Vfio Complains(string text)
    {
        Assert.Equal("vfio: " + text + "\n", Error);
        return this;
    }

    public JsonElement Json() => JsonDocument.Parse(Out).RootElement;
}
