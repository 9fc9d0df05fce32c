using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>User memory whose n-th copy or pin fails.</summary>
internal sealed unsafe class FailingUserMemory(IUserMemory inner, FailNth faults) : IUserMemory
{
    /// <inheritdoc/>
    public SimulatedProcess Process => inner.Process;

    /// <inheritdoc/>
    public int CopyFrom(ulong address, void* destination, nuint length) => faults.MustFail()
        ? -Errno.EFAULT
        : inner.CopyFrom(address, destination, length);

    /// <inheritdoc/>
    public int CopyTo(ulong address, void* source, nuint length) =>
        !faults.SparesAnswers && faults.MustFail() ? -Errno.EFAULT : inner.CopyTo(address, source, length);

    /// <inheritdoc/>
    public int Pin(ulong address, ulong length, bool writable) => faults.MustFail() ? -Errno.ENOMEM : inner.Pin(address, length, writable);

    /// <inheritdoc/>
    public void Unpin(ulong address, ulong length) => inner.Unpin(address, length);

    /// <inheritdoc/>
    public nint HostAddress(ulong address, ref ulong length) => inner.HostAddress(address, ref length);

    /// <inheritdoc/>
    public IPageSource PagesAt(ulong address, ulong length, bool withDevices)
    {
        var pages = inner.PagesAt(address, length, withDevices);
        return pages == inner ? this : new FailingPages(pages, faults);
    }

    private sealed class FailingPages(IPageSource inner, FailNth faults) : IPageSource
    {
        public SimulatedProcess Process => inner.Process;

        public int Pin(ulong address, ulong length, bool writable) => faults.MustFail() ? -Errno.ENOMEM : inner.Pin(address, length, writable);

        public void Unpin(ulong address, ulong length) => inner.Unpin(address, length);

        public nint HostAddress(ulong address, ref ulong length) => inner.HostAddress(address, ref length);
    }
}
