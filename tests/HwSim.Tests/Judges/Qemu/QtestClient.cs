using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;

namespace HwSim.Tests.Judges.Qemu;

/// <summary>
/// QEMU's qtest protocol on its standard input and output: one line in, one line out, in order. Lines are queued and sent together.
/// </summary>
/// <remarks>At most <see cref="Window"/> answers are outstanding, so that neither side ever blocks on a full pipe.</remarks>
public sealed class QtestClient(Stream input, Stream output, Func<string> complaint)
{
    private const int Window = 1024;
    private readonly byte[] _line = new byte[128];
    private readonly ArrayBufferWriter<byte> _queued = new();
    private readonly byte[] _in = new byte[1 << 16];
    private readonly List<ulong> _answers = [];
    private int _index, _inAt, _inEnd, _outstanding;
    private StringBuilder? _text;

    /// <summary>The value of an answer, by what <see cref="Read"/> returned; valid from <see cref="Flush"/> to the next queued line.</summary>
    public ulong this[int answer] => _answers[answer];

    public void Write(int bytes, ulong address, ulong value) => Queue(bytes == 4 ? "writel "u8 : "writeq "u8, address, value);

    public int Read(int bytes, ulong address) => Queue(bytes == 4 ? "readl "u8 : "readq "u8, address, null);

    public void Out32(ushort port, uint value) => Queue("outl "u8, port, value);

    public int In32(ushort port) => Queue("inl "u8, port, null);

    /// <summary>Writes a block.</summary>
    public void WriteBlock(ulong address, ReadOnlySpan<byte> bytes)
    {
        QueueText($"write 0x{address:x} 0x{bytes.Length:x} 0x{Convert.ToHexString(bytes)}\n");
    }

    /// <summary>Reads a block at once; what was queued is sent before.</summary>
    public byte[] ReadBlock(ulong address, int length)
    {
        Flush();
        _text = new StringBuilder(2 * length);
        QueueText($"read 0x{address:x} 0x{length:x}\n");
        Flush();
        var hex = _text.ToString();
        _text = null;
        return Convert.FromHexString(hex.AsSpan(2));
    }

    /// <summary>Sends what is queued and waits for every answer.</summary>
    public void Flush()
    {
        Send();
        while (_outstanding > 0)
            ReadAnswer();
    }

    private int Queue(ReadOnlySpan<byte> verb, ulong address, ulong? value)
    {
        MakeRoom();
        verb.CopyTo(_line);
        var at = Hex(verb.Length, address);
        if (value is { } v)
        {
            _line[at++] = (byte)' ';
            at = Hex(at, v);
        }

        _line[at++] = (byte)'\n';
        _queued.Write(_line.AsSpan(0, at));
        return _index++;
    }

    private void QueueText(string line)
    {
        MakeRoom();
        _queued.Write(Encoding.ASCII.GetBytes(line));
        _index++;
        if (_queued.WrittenCount > 1 << 15)
            Flush();
    }

    // A batch begins with the first line after a flush; its answers replace the last batch's.
    private void MakeRoom()
    {
        if (_queued.WrittenCount == 0 && _outstanding == 0)
        {
            _answers.Clear();
            _index = 0;
        }

        if (_outstanding + Lines() >= Window)
        {
            Send();
            while (_outstanding > Window / 2)
                ReadAnswer();
        }
    }

    private int Lines() => _index - _answers.Count - _outstanding;

    private int Hex(int at, ulong value)
    {
        _line[at++] = (byte)'0';
        _line[at++] = (byte)'x';
        Utf8Formatter.TryFormat(value, _line.AsSpan(at), out var written, 'x');
        return at + written;
    }

    private void Send()
    {
        if (_queued.WrittenCount == 0)
            return;
        _outstanding += Lines();
        input.Write(_queued.WrittenSpan);
        input.Flush();
        _queued.ResetWrittenCount();
    }

    private void ReadAnswer()
    {
        while (true)
        {
            var line = ReadLine();
            if (line.StartsWith("IRQ ", StringComparison.Ordinal))
                continue;
            if (!line.StartsWith("OK", StringComparison.Ordinal))
                throw new InvalidOperationException($"QEMU answered '{line}'.{complaint()}");
            _outstanding--;
            if (_text != null && line.Length > 2)
            {
                _text.Append(line, 3, line.Length - 3);
                _answers.Add(0);
                return;
            }

            var text = line.AsSpan(Math.Min(3, line.Length));
            _answers.Add(text.StartsWith("0x")
                ? ulong.Parse(text[2..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)
                : 0);
            return;
        }
    }

    private string ReadLine()
    {
        var line = new StringBuilder();
        while (true)
        {
            if (_inAt == _inEnd)
            {
                _inAt = 0;
                _inEnd = output.Read(_in, 0, _in.Length);
                if (_inEnd == 0)
                    throw new InvalidOperationException($"QEMU ended.{complaint()}");
            }

            var end = Array.IndexOf(_in, (byte)'\n', _inAt, _inEnd - _inAt);
            var upTo = end < 0 ? _inEnd : end;
            line.Append(Encoding.ASCII.GetString(_in, _inAt, upTo - _inAt));
            _inAt = end < 0 ? _inEnd : end + 1;
            if (end >= 0)
                return line.ToString();
        }
    }
}
