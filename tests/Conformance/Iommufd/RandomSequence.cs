using System.Globalization;
using System.Text;
using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.HwSim.Kernel.iommu_test_op;

namespace Conformance.Iommu;

/// <summary>
/// Commands with good and bad arguments, drawn from a seed, and a line of text for each with its result. The lines are the same on every host that
/// keeps Linux's rules: addresses are written relative to the buffers, descriptors by their order.
/// </summary>
internal sealed unsafe partial class RandomSequence : IDisposable
{
    private const ulong Page = 4096, Huge = 2 << 20;
    private const int BufferPages = 64, Ids = 24;

    private readonly IommufdCalls _c = new();
    private readonly StringBuilder _trace = new();
    private readonly nint _buffer;
    private readonly int _memFd;
    private readonly HashSet<uint> _small = [];
    private readonly List<(uint Stdev, uint Idev)> _mocks = [];
    private readonly HashSet<(uint Stdev, uint Pasid)> _pasids = [];
    private readonly List<int> _accesses = [];
    private readonly List<(int Fd, bool Events)> _queues = [];
    private readonly Dictionary<Kind, List<uint>> _ids = new() { [Kind.Ioas] = [], [Kind.Hwpt] = [], [Kind.Viommu] = [], [Kind.Fault] = [] };
    private ulong _state;

    public RandomSequence(ulong seed)
    {
        _c.NeedMock();
        _state = (seed * 0x9E3779B97F4A7C15) + 1;

        // Aligned alike on every host, because automatic IOVAs follow the alignment of memory.
        nint room = _c.Host.Pages(1024 + BufferPages);
        _buffer = (nint)(((ulong)room + Huge - 1) & ~(Huge - 1));
        new Span<byte>((void*)_buffer, BufferPages * 4096).Fill(1);
        _memFd = _c.Host.Keep(_c.Host.Kernel.MemFdCreate("random", Libc.MFD_CLOEXEC));
        Assert.Equal(0, _c.Host.Kernel.Ftruncate(_memFd, 16 * 4096));
    }

    private enum Kind
    {
        Ioas,
        Hwpt,
        Viommu,
        Fault,
    }

    /// <summary>What happened, one line a call.</summary>
    public string Trace => _trace.ToString();

    public void Dispose()
    {
        DetachPasids(null);
        _c.Dispose();
    }

    /// <summary>Makes calls.</summary>
    public void Run(int calls)
    {
        for (int i = 0; i < calls; i++)
        {
            Step();
        }
    }

    private void Step()
    {
        switch (Draw(46))
        {
            case 0 or 1:
                uint ioas = _c.IoasAlloc();
                _ids[Kind.Ioas].Add(ioas);
                Line("alloc", ioas);
                break;
            case 2:
                Destroy(Id());
                break;
            case >= 3 and <= 9:
                Map();
                break;
            case >= 10 and <= 14:
                Unmap();
                break;
            case 15 or 16:
                Copy();
                break;
            case 17:
                Ranges();
                break;
            case 18:
                Allow();
                break;
            case 19:
                Option();
                break;
            case 20 or 21:
                MockDomain();
                break;
            case 22 or 23:
                Replace();
                break;
            case 24 or 25 or 26:
                HwptAlloc();
                break;
            case 27:
                Reserve();
                break;
            case 28 or 29:
                Check();
                break;
            case >= 30 and <= 34:
                Access();
                break;
            case 35 or 36 or 37:
                Faults();
                break;
            case 38 or 39 or 40:
                Viommu();
                break;
            case 41 or 42:
                Pasid();
                break;
            case 43:
                Container();
                break;
            case 44:
                MapFile();
                break;
            default:
                Dirty();
                break;
        }
    }

    private void Map()
    {
        uint ioas = Id(Kind.Ioas);
        ulong va = Va(), length = Length(), iova = Iova();
        if (Draw(3) == 0)
        {
            int rc = _c.MapAuto(ioas, va, length, out ulong chosen);
            Line($"map auto {ioas} {Show(va)} {length:x}", rc, $"{chosen:x}");
            return;
        }

        uint flags = IommufdCalls.FIXED | (Draw(8) == 0 ? IommufdCalls.READ : Draw(16) == 0 ? 8u : IommufdCalls.RW);
        Line($"map {ioas} {Show(va)} {length:x} at {iova:x} {flags}", _c.Map(ioas, va, length, iova, flags));
    }

    private void Unmap()
    {
        uint ioas = Id(Kind.Ioas);
        (ulong iova, ulong length) = Draw(12) == 0 ? (0, ulong.MaxValue) : (Iova(), Length() * (ulong)(1 + Draw(4)));
        int rc = _c.Unmap(ioas, iova, length, out ulong unmapped);
        Line($"unmap {ioas} {iova:x} {length:x}", rc, $"{unmapped:x}");
    }

    private void Copy()
    {
        uint from = Id(Kind.Ioas), to = Id(Kind.Ioas);
        ulong source = Iova(), target = Iova(), length = Length();
        uint flags = IommufdCalls.FIXED | (Draw(4) == 0 ? IommufdCalls.READ : IommufdCalls.RW);
        Line($"copy {from} {source:x} to {to} {target:x} {length:x} {flags}", _c.Copy(to, target, from, source, length, flags));
    }

    private void Ranges()
    {
        uint ioas = Id(Kind.Ioas);
        int rc = _c.Ranges(ioas, Draw(6), out iommu_iova_range[] ranges, out uint count, out ulong alignment);
        string text = rc == 0 ? string.Join(' ', ranges.Take((int)count).Select(static r => $"{r.start:x}-{r.last:x}")) : "";
        Line($"ranges {ioas}", rc, $"{count} {alignment:x} {text}");
    }

    private void Allow()
    {
        uint ioas = Id(Kind.Ioas);
        ulong first = Iova(), second = Iova();
        (ulong, ulong)[] allowed = [.. new[] { (first, first + (4 * Length())), (second, second + Length()) }.Take(Draw(3))];
        Line($"allow {ioas} {string.Join(' ', allowed.Select(static a => $"{a.Item1:x}-{a.Item2:x}"))}", _c.Allow(ioas, allowed));
    }

    private void Option()
    {
        uint option = (uint)Draw(3), obj = Draw(4) == 0 ? 0 : Id(Kind.Ioas);
        ushort op = (ushort)Draw(3);
        ulong value = (ulong)Draw(3);
        ulong given = value;
        int rc = _c.Option(option, op, obj, ref value);
        if (rc == 0 && option == 1 && op == 0 && given == 0)
        {
            _small.Add(obj);
        }
        else if (rc == 0 && option == 1 && op == 0)
        {
            _small.Remove(obj);
        }

        Line($"option {option} {op} {obj} {given}", rc, $"{value}");
    }

    private void MockDomain()
    {
        if (_mocks.Count > 5)
        {
            Destroy(_mocks[Draw(_mocks.Count)].Stdev);
            return;
        }

        uint table = Id(Draw(4) == 0 ? Kind.Hwpt : Kind.Ioas), flags = (uint)(Draw(8) == 0 ? Draw(8) : Draw(2) * 4);
        int rc = _c.MockDomain(table, flags, out IommufdCalls.Mock mock);
        if (rc == 0)
        {
            _mocks.Add((mock.Stdev, mock.Idev));
            _ids[Kind.Hwpt].Add(mock.Hwpt);
        }

        Line($"mock {table} {flags}", rc, $"{mock}");
    }

    private void Replace()
    {
        uint stdev = Stdev(), table = Id(Draw(2) == 0 ? Kind.Hwpt : Kind.Ioas);
        int rc = _c.MockReplace(stdev, table, out uint hwpt);
        Line($"replace {stdev} {table}", rc, $"{hwpt}");
    }

    private void HwptAlloc()
    {
        bool nested = Draw(2) == 0;
        uint device = Idev(), table = Id(nested ? Draw(3) == 0 ? Kind.Viommu : Kind.Hwpt : Kind.Ioas);
        uint flags = (uint)(Draw(3) == 0 ? Draw(32) : (Draw(2) * 8) + Draw(2)), fault = Id(Kind.Fault);
        int rc = nested ? _c.NestedAlloc(device, table, flags & ~1u, out uint hwpt, fault)
            : _c.HwptAlloc(device, table, flags, out hwpt, fault: fault);
        if (rc == 0)
        {
            _ids[Kind.Hwpt].Add(hwpt);
        }

        Line($"hwpt {device} {table} {flags} {fault} {nested}", rc, rc == 0 ? $"{hwpt}" : "");
    }

    private void Reserve()
    {
        uint ioas = Id(Kind.Ioas);
        ulong start = Iova(), length = Draw(8) == 0 ? 0 : Length();
        Line($"reserve {ioas} {start:x} {length:x}", _c.AddReserved(ioas, start, length));
    }

    private void Check()
    {
        if (Draw(2) == 0)
        {
            uint hwpt = Id(Kind.Hwpt);
            ulong iova = Iova(), va = Va();
            Line($"check {hwpt} {iova:x} {Show(va)}", _c.CheckMap(hwpt, iova, va, Page));
            return;
        }

        ulong page = (ulong)_buffer + ((ulong)Draw(BufferPages) * Page);
        uint pins = 0;
        while (pins < 64 && _c.CheckRefs(page, Page, pins) != 0)
        {
            pins++;
        }

        Line($"refs {Show(page)}", (int)pins);
    }

    private void Destroy(uint id)
    {
        // A device that goes with a PASID attached is a mistake that only a test can make.
        if (_mocks.Exists(m => m.Stdev == id))
        {
            DetachPasids(id);
        }

        int rc = _c.Destroy(id);
        if (rc == 0)
        {
            _mocks.RemoveAll(m => m.Stdev == id);
            _small.Remove(id);
            foreach (List<uint> ids in _ids.Values)
            {
                ids.RemoveAll(i => i == id);
            }
        }

        Line($"destroy {id}", rc);
    }

    private void Line(string call, long result, string output = "") =>
        _trace.Append(CultureInfo.InvariantCulture, $"{call} = {(result < 0 ? Errno.Name((int)-result) : result)} {output}").Append('\n');

    // xorshift64*
    private int Draw(int below)
    {
        _state ^= _state >> 12;
        _state ^= _state << 25;
        _state ^= _state >> 27;
        return (int)((_state * 0x2545F4914F6CDD1D) >> 33) % below;
    }

    private uint Id() => (uint)(Draw(16) == 0 ? 0 : 1 + Draw(Ids));

    private uint Id(Kind kind) => _ids[kind].Count == 0 || Draw(8) == 0 ? Id() : _ids[kind][Draw(_ids[kind].Count)];

    private uint Idev() => _mocks.Count == 0 || Draw(16) == 0 ? Id() : _mocks[Draw(_mocks.Count)].Idev;

    private uint Stdev() => _mocks.Count == 0 || Draw(16) == 0 ? Id() : _mocks[Draw(_mocks.Count)].Stdev;

    private ulong Va() => Draw(24) switch
    {
        0 => 0x1000,
        1 => (ulong)_buffer + 1,
        2 => (ulong)_buffer + 2048,
        3 => ulong.MaxValue - Page,
        _ => (ulong)_buffer + ((ulong)Draw(BufferPages - 8) * Page),
    };

    private ulong Length() => Draw(16) switch
    {
        0 => 0,
        1 => 1,
        2 => 2048,
        3 => ulong.MaxValue - (ulong)Draw(2),
        _ => (ulong)(1 + Draw(8)) * Page,
    };

    private ulong Iova() => Draw(24) switch
    {
        0 => 0,
        1 => ulong.MaxValue - ((ulong)Draw(3) * Page),
        2 => MOCK_APERTURE_START - Page,
        3 => MOCK_APERTURE_START + 2048,
        4 => MOCK_APERTURE_LAST,
        _ => MOCK_APERTURE_START + ((ulong)Draw(64) * Page),
    };

    private string Show(ulong va) => va >= (ulong)_buffer && va < (ulong)_buffer + (BufferPages * Page) ? $"+{va - (ulong)_buffer:x}" : $"{va:x}";
}
