namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The areas of an address space by IOVA: a B+ tree, as the kernel's maple tree is one, so that ten million areas are four levels. Areas never
/// overlap. Nodes that were used are used again: mapping and unmapping allocates nothing once there are enough.
/// </summary>
/// <remarks>
/// A node's key is the lowest IOVA below it. A search reads one node of each level and the end of the area before the IOVA that is asked for.
/// Not safe for several threads: <see cref="IoPagetable"/> has a lock.
/// </remarks>
internal sealed class AreaTree
{
    // A node that filled up at its end, as one mapping after the other does, keeps all but a few; the few leave it room for mappings between.
    private const int Room = 4;

    // A node with fewer is joined with its neighbour, or takes some of the neighbour's.
    private const int Fewest = AreaTreeNode.Most / 4;

    private readonly AreaTreeNodes _leaves = new();
    private readonly AreaTreeNodes _others = new();
    private AreaTreeNode _root = new();

    internal int Count { get; private set; }

    /// <summary>How many levels of nodes lie above the leaves.</summary>
    internal int Depth { get; private set; }

    internal AreaTreeNode Root => _root;

    /// <summary>The lowest area that has an IOVA of [<paramref name="first"/>, <paramref name="last"/>], or null.</summary>
    internal IoptArea? First(ulong first, ulong last)
    {
        var node = _root;
        AreaTreeNode? next = null;
        for (var level = Depth; level > 0; level--)
        {
            var child = node.ChildOf(first);
            next = child + 1 < node.Count ? node.Child(child + 1) : next?.Child(0);
            node = node.Child(child);
        }

        var at = node.UpTo(first);
        if (at != 0 && node.Reaches(at - 1, first))
        {
            return node.Area(at - 1);
        }

        if (at == node.Count)
        {
            node = next;
            at = 0;
        }

        return node != null && at < node.Count && node.Keys[at] <= last ? node.Area(at) : null;
    }

    /// <summary>The lowest area, or null.</summary>
    internal IoptArea? First() => First(0, ulong.MaxValue);

    /// <summary>The next area above <paramref name="area"/>, or null.</summary>
    internal IoptArea? Next(IoptArea area) => area.LastIova == ulong.MaxValue ? null : First(area.LastIova + 1, ulong.MaxValue);

    /// <summary>The highest area that ends below <paramref name="iova"/>, or null.</summary>
    internal IoptArea? Before(ulong iova)
    {
        var node = _root;
        AreaTreeNode? previous = null;
        for (var level = Depth; level > 0; level--)
        {
            var child = node.ChildOf(iova);
            previous = child > 0 ? node.Child(child - 1) : previous?.Child(previous.Count - 1);
            node = node.Child(child);
        }

        // At most one area reaches the IOVA without beginning above it.
        var at = node.UpTo(iova) - 1;
        if (at >= 0 && node.Reaches(at, iova))
        {
            at--;
        }

        return at >= 0 ? node.Area(at) : previous?.Area(previous.Count - 1);
    }

    internal void Insert(IoptArea area)
    {
        if (Insert(_root, Depth, area) is { } right)
        {
            var root = _others.Rent();
            root.AddChild(0, _root);
            root.AddChild(1, right);
            _root = root;
            Depth++;
        }

        Count++;
    }

    internal void Remove(IoptArea area)
    {
        Remove(_root, Depth, area.Iova);
        while (Depth != 0 && _root.Count == 1)
        {
            var root = _root;
            _root = root.Child(0);
            root.RemoveAt(0);
            _others.Return(root);
            Depth--;
        }

        Count--;
    }

    // Returns the right half of a node that was full.
    private AreaTreeNode? Insert(AreaTreeNode node, int level, IoptArea area)
    {
        int at;
        AreaTreeNode? split = null;
        if (level == 0)
        {
            at = node.UpTo(area.Iova);
            split = MakeRoom(_leaves, ref node, ref at);
            node.AddArea(at, area);
            return split;
        }

        at = node.ChildOf(area.Iova);
        if (area.Iova < node.Keys[at])
        {
            node.Keys[at] = area.Iova;
        }

        if (Insert(node.Child(at), level - 1, area) is { } right)
        {
            at++;
            split = MakeRoom(_others, ref node, ref at);
            node.AddChild(at, right);
        }

        return split;
    }

    // Splits a node that is full, and leads to the half where the number belongs that something is to be added as. Returns the right half.
    private static AreaTreeNode? MakeRoom(AreaTreeNodes nodes, ref AreaTreeNode node, ref int at)
    {
        if (node.Count < AreaTreeNode.Most)
        {
            return null;
        }

        var right = nodes.Rent();
        var kept = at == node.Count ? AreaTreeNode.Most - Room : AreaTreeNode.Most / 2;
        node.MoveTo(right, kept, 0, node.Count - kept);
        if (at > kept)
        {
            node = right;
            at -= kept;
        }

        return right;
    }

    private void Remove(AreaTreeNode node, int level, ulong iova)
    {
        if (level == 0)
        {
            node.RemoveAt(node.UpTo(iova) - 1);
            return;
        }

        var at = node.ChildOf(iova);
        var child = node.Child(at);
        Remove(child, level - 1, iova);
        node.Keys[at] = child.Keys[0];
        if (child.Count < Fewest)
        {
            Mend(level == 1 ? _leaves : _others, node, int.Max(at, 1));
        }
    }

    // Child number at, or the one before it, has few: both in one, or the same for both.
    private static void Mend(AreaTreeNodes children, AreaTreeNode node, int at)
    {
        var left = node.Child(at - 1);
        var right = node.Child(at);
        if (left.Count + right.Count <= AreaTreeNode.Most)
        {
            right.MoveTo(left, 0, left.Count, right.Count);
            node.RemoveAt(at);
            children.Return(right);
            return;
        }

        var half = (left.Count + right.Count) / 2;
        if (left.Count < half)
        {
            right.MoveTo(left, 0, left.Count, half - left.Count);
        }
        else
        {
            left.MoveTo(right, half, 0, left.Count - half);
        }

        node.Keys[at] = right.Keys[0];
    }
}
