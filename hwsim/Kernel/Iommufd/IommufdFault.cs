using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>A queue of page requests (struct iommufd_fault): read through its file, answered by writing to it.</summary>
internal sealed unsafe class IommufdFault : IommufdObject
{
    private readonly Lock _mutex = new();
    private readonly LinkedList<IoPageFaultGroup> _deliver = [];
    private readonly SortedList<uint, IoPageFaultGroup> _response = [];

    // Cookies begin at 1. But the kernel erases what it is told to (xa_erase), and erasing cookie 0 while others are out makes 0 one that can be
    // given.
    private bool _isZeroFree;

    internal IommufdFault(IommufdContext context)
        : base(IommufdObjectType.Fault) => QueueFile = new EventQueueFile(context, this, Read, Write, HasEvents);

    internal EventQueueFile QueueFile { get; }

    internal override SimulatedFile File => QueueFile;

    internal override void Destroy()
    {
        foreach (var group in _deliver)
        {
            group.Respond(PageResponseCode.Invalid);
        }

        foreach (var group in _response.Values)
        {
            group.Respond(PageResponseCode.Invalid);
        }
    }

    /// <summary>iommufd_fault_iopf_handler: page requests arrived.</summary>
    internal void Deliver(IoPageFaultGroup group)
    {
        lock (_mutex)
        {
            _deliver.AddLast(group);
        }

        QueueFile.Update();
    }

    /// <summary>iommufd_auto_response_faults: what came through an attachment that ends is refused.</summary>
    internal void AutoRespond(IommuAttachHandle handle)
    {
        lock (_mutex)
        {
            for (var node = _deliver.First; node != null;)
            {
                var next = node.Next;
                if (node.Value.Handle == handle)
                {
                    _deliver.Remove(node);
                    node.Value.Respond(PageResponseCode.Invalid);
                }

                node = next;
            }

            for (var i = _response.Count - 1; i >= 0; i--)
            {
                var group = _response.Values[i];
                if (group.Handle == handle)
                {
                    _response.RemoveAt(i);
                    group.Respond(PageResponseCode.Invalid);
                }
            }
        }

        QueueFile.Update();
    }

    private bool HasEvents()
    {
        lock (_mutex)
        {
            return _deliver.Count != 0;
        }
    }

    // Whole groups only; each gets the lowest free cookie.
    private nint Read(ulong buffer, nuint count, IUserMemory user)
    {
        var size = (nuint)sizeof(iommu_hwpt_pgfault);
        if (count % size != 0)
        {
            return -Errno.ESPIPE;
        }

        nuint done = 0;
        lock (_mutex)
        {
            while (_deliver.First is { } node)
            {
                var group = node.Value;
                if (done >= count || (nuint)group.Faults.Count * size > count - done)
                {
                    return done == 0 ? -Errno.EINVAL : (nint)done;
                }

                var cookie = _isZeroFree ? 0u : 1;
                while (_response.ContainsKey(cookie))
                {
                    cookie++;
                }

                var at = done;
                foreach (var fault in group.Faults)
                {
                    var record = new iommu_hwpt_pgfault
                    {
                        flags = fault.Flags,
                        dev_id = ((IommufdAttachHandle)group.Handle).Device.Id,
                        pasid = fault.Pasid,
                        grpid = fault.GroupIndex,
                        perm = fault.Permissions,
                        addr = fault.Address,
                        cookie = cookie,
                    };
                    if (user.CopyTo(buffer + at, &record, size) != 0)
                    {
                        return done == 0 ? -Errno.EFAULT : (nint)done;
                    }

                    at += size;
                }

                group.Cookie = cookie;
                _response.Add(cookie, group);
                _deliver.Remove(node);
                done = at;
            }
        }

        return (nint)done;
    }

    private nint Write(ulong buffer, nuint count, IUserMemory user)
    {
        var size = (nuint)sizeof(iommu_hwpt_page_response);
        if (count % size != 0)
        {
            return -Errno.ESPIPE;
        }

        nuint done = 0;
        nint rc = 0;
        lock (_mutex)
        {
            for (; done < count; done += size)
            {
                iommu_hwpt_page_response response;
                if (user.CopyFrom(buffer + done, &response, size) != 0)
                {
                    rc = -Errno.EFAULT;
                    break;
                }

                if (response.code > (uint)PageResponseCode.Invalid)
                {
                    rc = -Errno.EINVAL;
                    break;
                }

                _isZeroFree |= response.cookie == 0 && _response.Count != 0;
                var known = _response.Remove(response.cookie, out var group);
                if (!known)
                {
                    rc = -Errno.EINVAL;
                    break;
                }

                group!.Respond((PageResponseCode)response.code);
            }
        }

        return done == 0 ? rc : (nint)done;
    }
}
