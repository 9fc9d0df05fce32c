namespace IommuFd.Native;

// One type per kind of descriptor: a device cannot be passed where a context is needed.

/// <summary>An open <c>/dev/iommu</c>.</summary>
public sealed class IommuFdHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd);

/// <summary>An open VFIO device: <c>/dev/vfio/devices/vfioN</c>, or one got from a group.</summary>
public sealed class VfioDeviceHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd);

/// <summary>An open VFIO group: <c>/dev/vfio/N</c>.</summary>
public sealed class VfioGroupHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd);

/// <summary>An open legacy container: <c>/dev/vfio/vfio</c>.</summary>
public sealed class VfioContainerHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd);

/// <summary>The descriptor of <c>IOMMU_FAULT_QUEUE_ALLOC</c>: page requests are read, responses written.</summary>
public sealed class FaultQueueHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd);

/// <summary>The descriptor of <c>IOMMU_VEVENTQ_ALLOC</c>: virtual events are read.</summary>
public sealed class VirtualEventQueueHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd);

/// <summary>The data stream of a device in migration.</summary>
public sealed class MigrationDataHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd);

/// <summary>A dma-buf, such as a BAR exported by <c>VFIO_DEVICE_FEATURE_DMA_BUF</c>.</summary>
public sealed class DmaBufHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd);

/// <summary>An eventfd: the kernel adds to its counter, a read takes it.</summary>
public sealed class EventFdHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd);

/// <summary>A memfd: memory with a descriptor.</summary>
public sealed class MemFdHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd);

/// <summary>A UNIX socket that carries descriptors.</summary>
public sealed class SocketHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd)
{
    /// <summary>See <see cref="IKernel.SendDescriptors"/>.</summary>
    public nint Send(nint payload, nuint length, nint descriptors, int count)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            return Kernel.SendDescriptors((int)handle, payload, length, descriptors, count);
        }
        finally
        {
            DangerousRelease();
        }
    }

    /// <summary>See <see cref="IKernel.ReceiveDescriptors"/>.</summary>
    public nint Receive(nint payload, nuint length, nint descriptors, ref int count)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            return Kernel.ReceiveDescriptors((int)handle, payload, length, descriptors, ref count);
        }
        finally
        {
            DangerousRelease();
        }
    }
}

/// <summary>An epoll instance.</summary>
public sealed class EpollHandle(IKernel kernel, int fd) : DescriptorHandle(kernel, fd)
{
    /// <summary>epoll_ctl(2): 0 or -errno.</summary>
    public int Control(int operation, int fd, uint events, ulong token)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            return Kernel.EpollControl((int)handle, operation, fd, events, token);
        }
        finally
        {
            DangerousRelease();
        }
    }

    /// <summary>epoll_wait(2) into <paramref name="count"/> <see cref="EpollReady"/>s at <paramref name="ready"/>: how many, or -errno.</summary>
    public int Wait(nint ready, int count, int timeoutMilliseconds)
    {
        if (!TryEnter())
        {
            return -Errno.EBADF;
        }

        try
        {
            return Kernel.EpollWait((int)handle, ready, count, timeoutMilliseconds);
        }
        finally
        {
            DangerousRelease();
        }
    }
}
