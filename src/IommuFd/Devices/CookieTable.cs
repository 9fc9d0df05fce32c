namespace IommuFd;

/// <summary>The cookies of a context's bound devices. Mainline knows devices by its own ids only; the names of the proposal live here.</summary>
internal sealed class CookieTable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, uint?> _devices = [];

    internal bool TryReserve(ulong cookie)
    {
        lock (_gate)
        {
            return _devices.TryAdd(cookie, null);
        }
    }

    internal void Bound(ulong cookie, uint deviceId)
    {
        lock (_gate)
        {
            _devices[cookie] = deviceId;
        }
    }

    internal void Release(ulong cookie)
    {
        lock (_gate)
        {
            _ = _devices.Remove(cookie);
        }
    }

    /// <summary>The cookies of the devices that are bound, not only about to be.</summary>
    internal ulong[] All()
    {
        lock (_gate)
        {
            return [.. _devices.Where(static pair => pair.Value is not null).Select(static pair => pair.Key)];
        }
    }

    /// <summary>The cookie of the device with a kernel id, or null.</summary>
    internal ulong? CookieOf(uint deviceId)
    {
        lock (_gate)
        {
            foreach ((ulong cookie, uint? id) in _devices)
            {
                if (id == deviceId)
                {
                    return cookie;
                }
            }
        }

        return null;
    }
}
