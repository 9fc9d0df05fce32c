namespace IommuFd.HwSim.Units;

/// <summary>
/// What was decoded before, by the words in memory that it was decoded from. A unit whose context cache misses, because an entry was invalidated
/// or another one took its place, and which then finds the same words as before, takes the same object: nothing is allocated.
/// It is no cache of the unit: the words are read each time.
/// </summary>
/// <remarks>
/// At most 16,384 are kept. With more than that in use the garbage collector has work, and one in 16 is kept in place of another: objects that
/// live shortly cost least. Not safe for several threads: a unit asks under its lock.
/// </remarks>
/// <typeparam name="T">What is decoded; never changed afterwards.</typeparam>
/// <param name="words">How many words there are.</param>
internal sealed class ContextMemo<T>(int words)
    where T : class
{
    private const int First = 64, Most = 16384, Probes = 4;
    private ulong[] _words = [];
    private T?[] _made = [];
    private int _refused;

    /// <summary>The object that was made from these words, or null.</summary>
    internal T? Find(ReadOnlySpan<ulong> from)
    {
        for (int probe = 0, at = Slot(from); probe < Probes && _made.Length != 0; probe++, at = (at + 1) & (_made.Length - 1))
        {
            if (_made[at] is { } made && WordsOf(at).SequenceEqual(from))
                return made;
        }

        return null;
    }

    /// <summary>Keeps an object, in place of one that was made from the same words.</summary>
    internal T Add(ReadOnlySpan<ulong> from, T made)
    {
        while (!TryAdd(from, made, _made.Length == Most && (_refused & 15) == 15))
        {
            if (_made.Length == Most)
            {
                _refused++;
                break;
            }

            Grow();
        }

        return made;
    }

    private bool TryAdd(ReadOnlySpan<ulong> from, T made, bool replace)
    {
        for (int probe = 0, at = Slot(from); probe < Probes && _made.Length != 0; probe++, at = (at + 1) & (_made.Length - 1))
        {
            if (_made[at] != null && !WordsOf(at).SequenceEqual(from) && !(replace && probe == Probes - 1))
                continue;
            from.CopyTo(WordsOf(at));
            _made[at] = made;
            _refused += replace ? 1 : 0;
            return true;
        }

        return false;
    }

    private void Grow()
    {
        var (oldWords, oldMade) = (_words, _made);
        var size = Math.Max(First, oldMade.Length * 2);
        _words = new ulong[size * words];
        _made = new T?[size];
        for (var i = 0; i < oldMade.Length; i++)
        {
            if (oldMade[i] is { } made)
                TryAdd(oldWords.AsSpan(i * words, words), made, replace: true);
        }
    }

    private Span<ulong> WordsOf(int slot) => _words.AsSpan(slot * words, words);

    private int Slot(ReadOnlySpan<ulong> from)
    {
        ulong hash = 0;
        foreach (var word in from)
            hash = (hash ^ word) * 0x9E37_79B9_7F4A_7C15;
        return (int)(hash >> 40) & (_made.Length - 1);
    }
}
