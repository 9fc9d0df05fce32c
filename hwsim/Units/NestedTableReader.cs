using IommuFd.HwSim.PageTables;

namespace IommuFd.HwSim.Units;

/// <summary>Reads first-stage tables whose addresses are those of a second stage: each fetch is translated first.</summary>
/// <typeparam name="TSecond">The second stage's format.</typeparam>
/// <param name="second">The second stage.</param>
/// <param name="rules">UpdateAccessedDirty and the fault rules of the second stage.</param>
// SAFETY: PhysicalMemory gives pointers for checked ranges only; the struct lives on the stack for one walk.
internal unsafe struct NestedTableReader<TSecond>(DirectTable second, WalkAccess rules) : ITableReader
    where TSecond : struct, IPageTableFormat
{
    private WalkResult _second;
    private ulong _output;

    /// <summary>The second-stage walk that failed, when the first stage's fault is <see cref="WalkFault.TableTranslation"/>.</summary>
    public readonly WalkResult Second => _second;

    /// <summary>The address that was being translated when it failed.</summary>
    public ulong Address { get; private set; }

    /// <summary>True when it failed as a write: an accessed or dirty bit was to be set.</summary>
    public bool Writing { get; private set; }

    /// <inheritdoc/>
    public byte* Entry(ulong address, int length, ref WalkFault fault)
    {
        if (!Translate(address, WalkAccess.Read, ref fault))
            return null;
        var p = second.Plan!.Memory.TryGet(_output, (ulong)length);
        if (p == null)
            fault = WalkFault.TableOutsideMemory;
        return p;
    }

    /// <inheritdoc/>
    public byte* Plain(ulong address)
    {
        var fault = WalkFault.None;
        return Entry(address, 8, ref fault);
    }

    /// <inheritdoc/>
    public bool CanWrite(ulong address, ref WalkFault fault)
    {
        Writing = true;
        return Translate(address, WalkAccess.Read | WalkAccess.Write, ref fault);
    }

    /// <inheritdoc/>
    public readonly void Visit(int level, int index, ulong address, ulong entry, EntryKind kind)
    {
    }

    private bool Translate(ulong address, WalkAccess access, ref WalkFault fault)
    {
        Address = address;
        if (second.Walk<TSecond>(address, access | rules, out var walked))
        {
            _output = walked.Output;
            return true;
        }

        _second = walked;
        fault = WalkFault.TableTranslation;
        return false;
    }
}
