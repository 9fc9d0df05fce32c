using System.Runtime.InteropServices;
using IommuFd.Native;

namespace IommuFd;

/// <summary>An mmap: unmapped with its last reference, or by the finalizer.</summary>
internal sealed class MappedMemory : SafeHandle
{
    private readonly IKernel _kernel;

    internal MappedMemory(IKernel kernel, nint address, nuint length)
        : base(-1, ownsHandle: true)
    {
        _kernel = kernel;
        Length = length;
        SetHandle(address);
    }

    public override bool IsInvalid => handle is -1 or 0;

    internal nint Address => handle;

    internal nuint Length { get; }

    protected override bool ReleaseHandle() => _kernel.Munmap(handle, Length) >= 0;
}
