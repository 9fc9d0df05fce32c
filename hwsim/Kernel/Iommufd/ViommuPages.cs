using IommuFd.Native;
using Libc = IommuFd.Native.Libc;

namespace IommuFd.HwSim.Kernel;

/// <summary>Memory of an object that user space can mmap through the iommufd (struct iommufd_mmap).</summary>
internal sealed unsafe class ViommuPages
{
    internal ViommuPages(IommufdObject owner, ulong offset, ulong length, uint firstWord)
    {
        Owner = owner;
        Offset = offset;
        Length = length;
        Descriptor = Libc.MemFdCreate("iommufd", Libc.MFD_CLOEXEC);
        _ = Libc.Ftruncate(Descriptor, (long)(offset + length));
        _ = Libc.Pwrite(Descriptor, (nint)(&firstWord), sizeof(uint), (long)offset);
    }

    internal IommufdObject Owner { get; }

    /// <summary>What user space passes to mmap(2).</summary>
    internal ulong Offset { get; }

    internal ulong Length { get; }

    /// <summary>A memory file with the content at <see cref="Offset"/>.</summary>
    internal int Descriptor { get; }

    internal void Close() => _ = Libc.Close(Descriptor);
}
