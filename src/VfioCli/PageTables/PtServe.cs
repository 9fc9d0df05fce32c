using System.Buffers;
using System.Text;
using IommuFd.HwSim.LineProtocol;
using VfioCli.Output;

namespace VfioCli.PageTables;

/// <summary><c>vfio pt serve</c>: requests on stdin, answers on stdout, one a line, until the input ends.</summary>
internal static class PtServe
{
    /// <summary>Serves.</summary>
    public static ExitCode Run(Terminal terminal)
    {
        using LineServer server = new();
        TextReader input = terminal.Piped is { } open ? open() : Console.In;
        ArrayBufferWriter<byte> answer = new();
        while (input.ReadLine() is { } line)
        {
            if (line.Length == 0)
            {
                continue;
            }

            answer.ResetWrittenCount();
            server.Answer(Encoding.UTF8.GetBytes(line), answer);
            terminal.Out.WriteLine(Encoding.UTF8.GetString(answer.WrittenSpan));
            // Whoever waits for this answer gets it now; whoever has sent more gets them together.
            if (input.Peek() < 0)
            {
                terminal.Out.Flush();
            }
        }

        return ExitCode.Ok;
    }
}
