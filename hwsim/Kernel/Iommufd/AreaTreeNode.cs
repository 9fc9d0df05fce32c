using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A node of an <see cref="AreaTree"/>: keys in order, side by side, and what is under each, areas in a leaf and nodes in other nodes.
/// </summary>
internal sealed class AreaTreeNode
{
    /// <summary>How many keys fit.</summary>
    internal const int Most = 64;

    internal AreaTreeNode? NextFree;
    internal int Count;
    private KeyColumn _keys;
    private ReachColumn _reach;
    private ItemColumn _items;

    internal AreaTreeNode() => Keys.Fill(ulong.MaxValue);

    /// <summary>First IOVAs; those that are not used are the highest number.</summary>
    internal Span<ulong> Keys => _keys;

    // Leading zeros of what the area's last IOVA is above its first.
    private Span<byte> Reach => _reach;

    private Span<object?> Items => _items;

    // SAFETY: the tree asks for areas of its leaves and for nodes of its other nodes, and puts nothing else there. A checked cast would read the
    // object, which at the bottom of a large tree is in no cache.
    internal IoptArea Area(int at) => Unsafe.As<IoptArea>(_items[at]!);

    // SAFETY: as above.
    internal AreaTreeNode Child(int at) => Unsafe.As<AreaTreeNode>(_items[at]!);

    /// <summary>
    /// How many keys are not above an IOVA. All are compared: the cache lines come at the same time, and there is no branch to guess.
    /// </summary>
    internal int UpTo(ulong iova)
    {
        ref var key = ref _keys[0];
        var among = Vector256.Create(iova);
        var found = Vector256<ulong>.Zero;
        for (var i = 0; i < Count; i += Vector256<ulong>.Count)
        {
            // SAFETY: there are a multiple of a vector's keys.
            found -= Vector256.LessThanOrEqual(Vector256.LoadUnsafe(ref key, (nuint)i), among);
        }

        return int.Min((int)Vector256.Sum(found), Count);
    }

    /// <summary>The number of the child where an IOVA belongs.</summary>
    internal int ChildOf(ulong iova) => int.Max(UpTo(iova) - 1, 0);

    /// <summary>
    /// True when area number <paramref name="at"/>, which does not begin above an IOVA, has it or one above it. An area whose power of two does not
    /// reach so far is not read: it is in no cache when there are many.
    /// </summary>
    internal bool Reaches(int at, ulong iova) =>
        BitOperations.LeadingZeroCount(iova - _keys[at]) >= _reach[at] && Area(at).LastIova >= iova;

    internal void AddArea(int at, IoptArea area) => Add(at, area.Iova, area, (byte)BitOperations.LeadingZeroCount(area.LastIova - area.Iova));

    internal void AddChild(int at, AreaTreeNode child) => Add(at, child._keys[0], child, 0);

    internal void RemoveAt(int at)
    {
        Move(at + 1, this, at, Count - at - 1);
        Shrink(1);
    }

    /// <summary>Moves keys from <paramref name="from"/> on to another node, to where its keys from <paramref name="to"/> on were.</summary>
    internal void MoveTo(AreaTreeNode other, int from, int to, int count)
    {
        other.Move(to, other, to + count, other.Count - to);
        Move(from, other, to, count);
        Move(from + count, this, from, Count - from - count);
        other.Count += count;
        Shrink(count);
    }

    private void Add(int at, ulong key, object item, byte reach)
    {
        Move(at, this, at + 1, Count - at);
        _keys[at] = key;
        _reach[at] = reach;
        _items[at] = item;
        Count++;
    }

    private void Shrink(int count)
    {
        Count -= count;
        Keys.Slice(Count, count).Fill(ulong.MaxValue);
        Items.Slice(Count, count).Clear();
    }

    private void Move(int from, AreaTreeNode other, int to, int count)
    {
        Keys.Slice(from, count).CopyTo(other.Keys[to..]);
        Reach.Slice(from, count).CopyTo(other.Reach[to..]);
        Items.Slice(from, count).CopyTo(other.Items[to..]);
    }

    [InlineArray(Most)]
    private struct KeyColumn
    {
        private ulong _first;
    }

    [InlineArray(Most)]
    private struct ReachColumn
    {
        private byte _first;
    }

    [InlineArray(Most)]
    private struct ItemColumn
    {
        private object? _first;
    }
}
