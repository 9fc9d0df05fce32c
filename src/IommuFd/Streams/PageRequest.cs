using IommuFd.Native.Uapi;

namespace IommuFd;

/// <summary>One page that a device asks for.</summary>
/// <param name="Address">The address that faulted.</param>
/// <param name="Access">The access asked for.</param>
/// <param name="Length">How many bytes the device will want, 0 when it does not say.</param>
public readonly record struct FaultingPage(ulong Address, iommu_hwpt_pgfault_perm Access, uint Length);

/// <summary>
/// A group of page requests that one response answers. The device waits for it, so it cannot be forgotten: a request that is disposed or lost without
/// an answer is answered with "invalid".
/// </summary>
public sealed class PageRequest : IDisposable
{
    private readonly IPageResponder _responder;
    private int _answered;

    internal PageRequest(IPageResponder responder, uint kernelId, ulong? cookie, uint deviceId, uint? pasid, uint group,
        IReadOnlyList<FaultingPage> pages)
    {
        _responder = responder;
        KernelId = kernelId;
        DeviceId = deviceId;
        Cookie = cookie;
        Pasid = pasid;
        Group = group;
        Pages = pages;
    }

    /// <summary>Answers what nobody answered.</summary>
    ~PageRequest() => _ = TryAnswer(success: false);

    /// <summary>The name that the device was bound with; null when it was bound without this library.</summary>
    public ulong? Cookie { get; }

    /// <summary>The kernel's id of the device; 0 on kernels that know devices by their cookies.</summary>
    public uint DeviceId { get; }

    /// <summary>The kernel's name of the request.</summary>
    internal uint KernelId { get; }

    /// <summary>The PASID of the access, or null.</summary>
    public uint? Pasid { get; }

    /// <summary>The device's number of the group.</summary>
    public uint Group { get; }

    /// <summary>The pages, in the order in which the device asked.</summary>
    public IReadOnlyList<FaultingPage> Pages { get; }

    /// <summary>The pages are mapped now: the device tries again.</summary>
    /// <exception cref="IommuFdException">The device or its table is gone.</exception>
    public void Complete() => Answer(success: true);

    /// <summary>The pages cannot be mapped: the device gives the access up.</summary>
    /// <exception cref="IommuFdException">The device or its table is gone.</exception>
    public void Refuse() => Answer(success: false);

    /// <summary>Refuses unless it was answered.</summary>
    public void Dispose()
    {
        _ = TryAnswer(success: false);
        GC.SuppressFinalize(this);
    }

    private void Answer(bool success)
    {
        int result = TryAnswer(success);
#pragma warning disable CA1816 // answered: as after Dispose, the finalizer has nothing left to do
        GC.SuppressFinalize(this);
#pragma warning restore CA1816
        if (result < 0)
        {
            throw Failure.Of("write page responses", result);
        }
    }

    private int TryAnswer(bool success) => Interlocked.Exchange(ref _answered, 1) == 0 ? _responder.Respond(this, success) : 0;
}
