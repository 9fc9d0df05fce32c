namespace IommuFd.HwSim.Kernel;

/// <summary>
/// The areas of an address space by IOVA: an AVL tree whose nodes are the areas themselves. Areas never overlap. Nothing is allocated here.
/// </summary>
internal sealed class AreaTree
{
    private IoptArea? _root;

    internal int Count { get; private set; }

    /// <summary>The lowest area that has an IOVA of [<paramref name="first"/>, <paramref name="last"/>], or null.</summary>
    internal IoptArea? First(ulong first, ulong last)
    {
        IoptArea? found = null;
        for (var node = _root; node != null;)
        {
            if (node.LastIova >= first)
            {
                found = node;
                node = node.Left;
            }
            else
            {
                node = node.Right;
            }
        }

        return found != null && found.Iova <= last ? found : null;
    }

    /// <summary>The lowest area, or null.</summary>
    internal IoptArea? First() => First(0, ulong.MaxValue);

    /// <summary>The next area above <paramref name="area"/>, or null.</summary>
    internal IoptArea? Next(IoptArea area) => area.LastIova == ulong.MaxValue ? null : First(area.LastIova + 1, ulong.MaxValue);

    /// <summary>The highest area that ends below <paramref name="iova"/>, or null.</summary>
    internal IoptArea? Before(ulong iova)
    {
        IoptArea? found = null;
        for (var node = _root; node != null;)
        {
            if (node.LastIova < iova)
            {
                found = node;
                node = node.Right;
            }
            else
            {
                node = node.Left;
            }
        }

        return found;
    }

    internal void Insert(IoptArea area)
    {
        area.Left = area.Right = null;
        area.Height = 1;
        _root = Insert(_root, area);
        Count++;
    }

    internal void Remove(IoptArea area)
    {
        _root = Remove(_root, area);
        Count--;
    }

    private static IoptArea Insert(IoptArea? node, IoptArea area)
    {
        if (node == null)
        {
            return area;
        }

        if (area.Iova < node.Iova)
        {
            node.Left = Insert(node.Left, area);
        }
        else
        {
            node.Right = Insert(node.Right, area);
        }

        return Balance(node);
    }

    private static IoptArea? Remove(IoptArea? node, IoptArea area)
    {
        if (node == null)
        {
            return null;
        }

        if (node != area)
        {
            if (area.Iova < node.Iova)
            {
                node.Left = Remove(node.Left, area);
            }
            else
            {
                node.Right = Remove(node.Right, area);
            }

            return Balance(node);
        }

        if (node.Left == null || node.Right == null)
        {
            return node.Left ?? node.Right;
        }

        var right = RemoveLowest(node.Right, out var heir);
        heir.Left = node.Left;
        heir.Right = right;
        return Balance(heir);
    }

    private static IoptArea? RemoveLowest(IoptArea node, out IoptArea lowest)
    {
        if (node.Left == null)
        {
            lowest = node;
            return node.Right;
        }

        node.Left = RemoveLowest(node.Left, out lowest);
        return Balance(node);
    }

    private static int HeightOf(IoptArea? node) => node?.Height ?? 0;

    private static IoptArea Balance(IoptArea node)
    {
        var lean = HeightOf(node.Left) - HeightOf(node.Right);
        if (lean > 1)
        {
            if (HeightOf(node.Left!.Left) < HeightOf(node.Left.Right))
            {
                node.Left = RotateLeft(node.Left);
            }

            return RotateRight(node);
        }

        if (lean < -1)
        {
            if (HeightOf(node.Right!.Right) < HeightOf(node.Right.Left))
            {
                node.Right = RotateRight(node.Right);
            }

            return RotateLeft(node);
        }

        Measure(node);
        return node;
    }

    private static IoptArea RotateRight(IoptArea node)
    {
        var top = node.Left!;
        node.Left = top.Right;
        top.Right = node;
        Measure(node);
        Measure(top);
        return top;
    }

    private static IoptArea RotateLeft(IoptArea node)
    {
        var top = node.Right!;
        node.Right = top.Left;
        top.Left = node;
        Measure(node);
        Measure(top);
        return top;
    }

    private static void Measure(IoptArea node) => node.Height = (byte)(1 + Math.Max(HeightOf(node.Left), HeightOf(node.Right)));
}
