namespace IommuFd.HwSim.Kernel;

/// <summary>A mock device that is bound and attached (struct selftest_obj): destroying it takes the device away.</summary>
internal sealed class SelftestObject(MockDevice mock) : IommufdObject(IommufdObjectType.Selftest)
{
    internal MockDevice Mock { get; } = mock;

    internal IommufdDevice? Device { get; set; }

    internal override void Destroy()
    {
        Device!.Detach(IommuGroup.NoPasid);
        Device.Unbind();
        Mock.Group!.RemoveDevice(Mock);
    }
}

/// <summary>The file of an access that a test made (struct selftest_access), with the ranges that it pinned.</summary>
internal sealed class SelftestAccess : SimulatedFile
{
    private readonly Lock _lock = new();
    private readonly List<(uint Id, ulong Iova, ulong Length)> _items = [];
    private uint _nextId;

    internal IommufdAccess? Access { get; set; }

    internal bool PinsPages { get; init; }

    internal Lock Lock => _lock;

    internal uint Add(ulong iova, ulong length)
    {
        _items.Add((_nextId, iova, length));
        return _nextId++;
    }

    /// <summary>Unpins one range: false for an unknown id.</summary>
    internal bool Remove(uint id)
    {
        lock (_lock)
        {
            var at = _items.FindIndex(i => i.Id == id);
            if (at < 0)
            {
                return false;
            }

            Access!.UnpinPages(_items[at].Iova, _items[at].Length);
            _items.RemoveAt(at);
            return true;
        }
    }

    /// <summary>Unpins what a range touches.</summary>
    internal void Unmap(ulong iova, ulong length)
    {
        var last = iova + length - 1;
        lock (_lock)
        {
            for (var i = _items.Count - 1; i >= 0; i--)
            {
                var item = _items[i];
                if (iova <= item.Iova + item.Length - 1 && last >= item.Iova)
                {
                    _items.RemoveAt(i);
                    Access!.UnpinPages(item.Iova, item.Length);
                }
            }
        }
    }

    protected override void Release()
    {
        if (Access is { } access)
        {
            Unmap(0, ulong.MaxValue);
            access.Destroy();
        }
    }
}

/// <summary>A dma-buf that a test made, with memory of its own.</summary>
internal sealed class SelftestDmaBuf(PhysicalMemory memory, ulong physical, int sizeLg2, ulong size) : SimulatedDmaBuf(physical, size)
{
    protected override void Release() => memory.Free(Physical, sizeLg2);
}
