using IommuFd.HwSim.Kernel;
using Xunit;

namespace HwSim.Tests.Kernel.Iommufd;

/// <summary>The tree of areas, against a sorted list, and its shape.</summary>
public sealed class AreaTreeTests
{
    private readonly AreaTree _tree = new();
    private readonly SortedList<ulong, IoptArea> _model = [];

    [Theory]
    [InlineData(1, 100)]
    [InlineData(2, 40_000)]
    [InlineData(3, 40_000)]
    public void Random_areas_come_and_go_as_in_a_sorted_list(int seed, int operations)
    {
        var random = new Random(seed);

        // A tree that grows, is in use, and is taken down; twice, the second time with nodes that were used before.
        foreach (var inserted in (int[])[70, 50, 30, 90, 10])
        {
            for (var i = 0; i < operations; i++)
            {
                var iova = (ulong)random.Next(operations * 8);
                var end = iova + (ulong)random.Next(10);
                Assert.Same(Lowest(iova, end), _tree.First(iova, end));
                Assert.Same(_model.Values.ElementAtOrDefault(FirstEndingAt(iova) - 1), _tree.Before(iova));
                if (random.Next(100) < inserted)
                {
                    if (Lowest(iova, end) == null)
                        Insert(iova, end);
                }
                else if (Lowest(iova, ulong.MaxValue) is { } area)
                {
                    Assert.Same(_model.Values.ElementAtOrDefault(_model.IndexOfKey(area.Iova) + 1), _tree.Next(area));
                    Remove(area);
                }
            }

            CheckShape();
        }

        while (_tree.First() is { } area)
            Remove(area);
        CheckShape();
        Assert.Equal(0, _tree.Depth);
    }

    [Fact]
    public void The_first_and_the_last_IOVA_are_found()
    {
        Insert(0, 0);
        Insert(ulong.MaxValue, ulong.MaxValue);
        Assert.Same(_model.Values[0], _tree.First());
        Assert.Same(_model.Values[1], _tree.First(1, ulong.MaxValue));
        Assert.Same(_model.Values[1], _tree.First(ulong.MaxValue, ulong.MaxValue));
        Assert.Null(_tree.First(1, ulong.MaxValue - 1));
        Assert.Null(_tree.Next(_model.Values[1]));
        Assert.Same(_model.Values[0], _tree.Before(ulong.MaxValue));
        Assert.Null(_tree.Before(0));
        Remove(_model.Values[0]);
        Assert.Same(_model.Values[0], _tree.First());
    }

    [Fact]
    public void Areas_one_after_the_other_leave_nodes_full_but_for_a_few()
    {
        for (ulong i = 0; i < 60 * 60 * 5; i++)
            Insert(i * 2, i * 2);
        CheckShape();
        Assert.Equal(2, _tree.Depth);
        Assert.Equal(5, _tree.Root.Count);
        for (var i = 0; i < 4; i++)
        {
            Assert.Equal(60, _tree.Root.Child(i).Count);
            Assert.All(Enumerable.Range(0, 60), leaf => Assert.Equal(60, _tree.Root.Child(i).Child(leaf).Count));
        }
    }

    [Fact]
    public void Areas_that_come_and_go_among_others_allocate_nothing()
    {
        for (ulong i = 0; i < 10_000; i++)
            Insert(i * 2, i * 2);
        var area = new IoptArea();
        var random = new Random(4);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 10_000; i++)
        {
            area.Iova = area.LastIova = (ulong)random.Next(10_000) * 2 + 1;
            _tree.Insert(area);
            _tree.Remove(area);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        CheckShape();
    }

    [Fact]
    public void A_tree_that_fills_and_empties_again_allocates_nothing()
    {
        var areas = Enumerable.Range(0, 10_000).Select(i => new IoptArea { Iova = (ulong)i, LastIova = (ulong)i }).ToArray();
        long before = 0;
        for (var pass = 0; pass < 3; pass++)
        {
            before = pass == 1 ? GC.GetAllocatedBytesForCurrentThread() : before;
            foreach (var area in areas)
                _tree.Insert(area);
            foreach (var area in areas)
                _tree.Remove(area);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private void Insert(ulong iova, ulong last)
    {
        var area = new IoptArea { Iova = iova, LastIova = last };
        _tree.Insert(area);
        _model.Add(iova, area);
    }

    private void Remove(IoptArea area)
    {
        _tree.Remove(area);
        _model.Remove(area.Iova);
    }

    private IoptArea? Lowest(ulong first, ulong last) =>
        _model.Values.ElementAtOrDefault(FirstEndingAt(first)) is { } area && area.Iova <= last ? area : null;

    // The number of the first area of the model that ends at an IOVA or above.
    private int FirstEndingAt(ulong iova)
    {
        var (low, high) = (0, _model.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            (low, high) = _model.Values[middle].LastIova < iova ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    private void CheckShape()
    {
        List<IoptArea> areas = [];
        CheckNode(_tree.Root, _tree.Depth, areas);
        Assert.Equal(_model.Values, areas);
        Assert.Equal(_model.Count, _tree.Count);
    }

    // All leaves at one depth, none nearly empty, keys in order and each the lowest IOVA below it, nothing left behind the last.
    private void CheckNode(AreaTreeNode node, int level, List<IoptArea> areas)
    {
        if (node != _tree.Root)
            Assert.InRange(node.Count, 5, AreaTreeNode.Most);
        else if (level != 0)
            Assert.InRange(node.Count, 2, AreaTreeNode.Most);
        for (var i = 0; i < AreaTreeNode.Most; i++)
        {
            if (i >= node.Count)
            {
                Assert.Equal(ulong.MaxValue, node.Keys[i]);
                Assert.Null(node.Area(i));
                continue;
            }

            Assert.True(i == 0 || node.Keys[i] > node.Keys[i - 1]);
            Assert.Equal(level == 0 ? node.Area(i).Iova : node.Child(i).Keys[0], node.Keys[i]);
            if (level == 0)
                areas.Add(node.Area(i));
            else
                CheckNode(node.Child(i), level - 1, areas);
        }
    }
}
