namespace IommuFd.HwSim.Units;

/// <summary>A register as the data book declares it.</summary>
/// <param name="Name">The data book's name.</param>
/// <param name="Offset">Byte offset in the register page.</param>
/// <param name="Bytes">4 or 8.</param>
/// <param name="Reset">Value after reset.</param>
/// <param name="Writable">Bits that keep what is written.</param>
/// <param name="WriteOneToClear">Bits that are cleared by writing 1.</param>
public readonly record struct RegisterDeclaration(string Name, int Offset, int Bytes, ulong Reset, ulong Writable = 0, ulong WriteOneToClear = 0);

/// <summary>
/// Registers by declaration: reset values, which bits can be written, which are cleared by 1; halves of 64-bit registers can be accessed alone.
/// </summary>
public sealed class RegisterFile
{
    private readonly RegisterDeclaration[] _declarations;
    private readonly ulong[] _values;
    private readonly short[] _at;

    /// <summary>Registers with their reset values.</summary>
    /// <param name="bytes">Size of the register space.</param>
    /// <param name="declarations">All registers; they do not overlap.</param>
    public RegisterFile(int bytes, params RegisterDeclaration[] declarations)
    {
        ArgumentNullException.ThrowIfNull(declarations);
        _declarations = declarations;
        _values = new ulong[declarations.Length];
        _at = new short[bytes / 4];
        Array.Fill(_at, (short)-1);
        for (short i = 0; i < declarations.Length; i++)
        {
            for (var word = declarations[i].Offset / 4; word < (declarations[i].Offset + declarations[i].Bytes) / 4; word++)
            {
                if (_at[word] >= 0)
                    throw new ArgumentException($"{declarations[i].Name} overlaps {declarations[_at[word]].Name}.", nameof(declarations));
                _at[word] = i;
            }
        }

        Reset();
    }

    /// <summary>All declarations.</summary>
    public IReadOnlyList<RegisterDeclaration> Declarations => _declarations;

    /// <summary>Accesses to offsets that are not declared, the latest last; at most 64 are kept.</summary>
    public List<string> Unmodelled { get; } = [];

    /// <summary>The whole value of the register at its offset, for the model itself: no masks apply.</summary>
    /// <param name="offset">Offset of a declared register.</param>
    public ref ulong this[int offset] => ref _values[_at[offset / 4]];

    /// <summary>Gives every register its reset value.</summary>
    public void Reset()
    {
        for (var i = 0; i < _declarations.Length; i++)
            _values[i] = _declarations[i].Reset;
    }

    /// <summary>Software reads.</summary>
    /// <param name="offset">Byte offset, a multiple of <paramref name="bytes"/>.</param>
    /// <param name="bytes">4 or 8.</param>
    /// <returns>The value; 0 where no register is, which is noted in <see cref="Unmodelled"/>.</returns>
    public ulong Read(ulong offset, int bytes)
    {
        if (bytes == 8 && Find(offset, out var whole) && _declarations[whole].Bytes == 8 && (ulong)_declarations[whole].Offset == offset)
            return _values[whole];
        if (bytes == 8)
            return Read(offset, 4) | (Read(offset + 4, 4) << 32);
        if (bytes != 4 || offset % 4 != 0 || !Find(offset, out var index))
        {
            Note("read", offset, bytes);
            return 0;
        }

        return (uint)(_values[index] >> (8 * (int)(offset - (ulong)_declarations[index].Offset)));
    }

    /// <summary>Software writes: masks apply, side effects are the caller's.</summary>
    /// <param name="offset">Byte offset.</param>
    /// <param name="bytes">4 or 8.</param>
    /// <param name="value">The value.</param>
    /// <param name="written">The bits written, at their place in the register, before any mask.</param>
    /// <returns>The declared offset of the register; -1 where none is, which is noted in <see cref="Unmodelled"/>.</returns>
    public int Write(ulong offset, int bytes, ulong value, out ulong written)
    {
        written = 0;
        if (bytes is not (4 or 8) || offset % 4 != 0 || !Find(offset, out var index) || (bytes == 8 && (ulong)_declarations[index].Offset != offset))
        {
            Note("write", offset, bytes);
            return -1;
        }

        ref readonly var declaration = ref _declarations[index];
        var shift = 8 * (int)(offset - (ulong)declaration.Offset);
        var lane = bytes == 8 ? ulong.MaxValue : 0xFFFF_FFFFUL << shift;
        written = (value << shift) & lane;
        ref var current = ref _values[index];
        current = (current & ~(declaration.Writable & lane)) | (written & declaration.Writable);
        current &= ~(written & declaration.WriteOneToClear);
        return declaration.Offset;
    }

    /// <summary>Name of the register at an offset, for traces; null where none is.</summary>
    /// <param name="offset">Byte offset.</param>
    public string? NameAt(ulong offset) => Find(offset, out var index) ? _declarations[index].Name : null;

    private bool Find(ulong offset, out int index)
    {
        index = offset / 4 < (ulong)_at.Length ? _at[offset / 4] : -1;
        return index >= 0;
    }

    private void Note(string what, ulong offset, int bytes)
    {
        if (Unmodelled.Count < 64)
            Unmodelled.Add($"{what} of {bytes} bytes at 0x{offset:x}: no such register");
    }
}
