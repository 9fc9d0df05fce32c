using System.Numerics;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// Ids of an iommufd: a new object gets the lowest free one, from 1 (xa_alloc with XA_FLAGS_ALLOC1). An id is taken before its object can be found by
/// it.
/// </summary>
/// <remarks>Callers hold the context's object lock.</remarks>
internal sealed class ObjectTable
{
    private IommufdObject?[] _objects = new IommufdObject?[64];
    private ulong[] _taken = [1];

    // No free id below this word.
    private int _freeWord;

    /// <summary>Ids taken, published or not.</summary>
    internal int Count { get; private set; }

    /// <summary>One above the highest id there can be an object at.</summary>
    internal uint End => (uint)_objects.Length;

    internal IommufdObject? this[uint id] => id < (uint)_objects.Length ? _objects[id] : null;

    internal uint Reserve()
    {
        while (_freeWord < _taken.Length && _taken[_freeWord] == ulong.MaxValue)
        {
            _freeWord++;
        }

        if (_freeWord == _taken.Length)
        {
            Array.Resize(ref _taken, _taken.Length * 2);
            Array.Resize(ref _objects, _taken.Length * 64);
        }

        var bit = BitOperations.TrailingZeroCount(~_taken[_freeWord]);
        _taken[_freeWord] |= 1UL << bit;
        Count++;
        return (uint)((_freeWord * 64) + bit);
    }

    internal void Publish(IommufdObject obj) => _objects[obj.Id] = obj;

    /// <summary>Hides an object but keeps its id from being given again.</summary>
    internal void Tombstone(uint id) => _objects[id] = null;

    internal void Free(uint id)
    {
        _objects[id] = null;
        var word = (int)(id / 64);
        _taken[word] &= ~(1UL << (int)(id % 64));
        _freeWord = Math.Min(_freeWord, word);
        Count--;
    }
}
