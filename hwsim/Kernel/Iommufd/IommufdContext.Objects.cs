using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>The life of objects (drivers/iommu/iommufd/main.c).</summary>
public sealed partial class IommufdContext
{
    private readonly Lock _objectsLock = new();
    private readonly ObjectTable _objects = new();

    /// <summary>Gives an object its id; nobody can find it yet (_iommufd_object_alloc).</summary>
    internal void Reserve(IommufdObject obj)
    {
        lock (_objectsLock)
        {
            obj.Id = _objects.Reserve();
        }
    }

    /// <summary>The object can be found from now on (iommufd_object_finalize).</summary>
    internal void Publish(IommufdObject obj)
    {
        lock (_objectsLock)
        {
            _objects.Publish(obj);
        }
    }

    /// <summary>Takes back an object that has nothing to let go of (iommufd_object_abort).</summary>
    internal void Abort(IommufdObject obj)
    {
        lock (_objectsLock)
        {
            _objects.Free(obj.Id);
        }
    }

    /// <summary>Takes back a whole object that was not published (iommufd_object_abort_and_destroy).</summary>
    internal void AbortAndDestroy(IommufdObject obj)
    {
        obj.File?.Put();
        obj.Abort();
        Abort(obj);
    }

    /// <summary>Finds an object and keeps it from being destroyed until <see cref="PutObject"/>; null for -ENOENT (iommufd_get_object).</summary>
    internal IommufdObject? GetObject(uint id, IommufdObjectType type)
    {
        lock (_objectsLock)
        {
            var obj = _objects[id];
            return obj != null && (type == IommufdObjectType.Any || obj.Type == type) && TryLock(obj) ? obj : null;
        }
    }

    internal T? GetObject<T>(uint id, IommufdObjectType type)
        where T : IommufdObject => (T?)GetObject(id, type);

    internal static void PutObject(IommufdObject obj)
    {
        obj.DropUser();
        Interlocked.Decrement(ref obj.WaitCount);
    }

    /// <summary>iommufd_lock_obj: false when the object is being destroyed.</summary>
    internal bool TryLockObject(IommufdObject obj)
    {
        lock (_objectsLock)
        {
            return TryLock(obj);
        }
    }

    /// <summary>iommufd_try_inc_users: false when the object cannot be found any more.</summary>
    internal bool TryAddUser(IommufdObject obj)
    {
        lock (_objectsLock)
        {
            if (_objects[obj.Id] != obj)
            {
                return false;
            }

            obj.AddUser();
            return true;
        }
    }

    /// <summary>Destroys by id, as user space does: -ENOENT, or -EBUSY while somebody uses the object.</summary>
    internal int DestroyById(uint id)
    {
        IommufdObject? obj;
        lock (_objectsLock)
        {
            obj = _objects[id];
            var rc = obj == null ? -Errno.ENOENT : Unpublish(obj, tombstone: false);
            if (rc != 0)
            {
                return rc;
            }
        }

        WaitUnused(obj!);
        obj!.Destroy();
        return 0;
    }

    /// <summary>Gives the caller's reference back and destroys the object when no other one is left (iommufd_object_put_and_try_destroy).</summary>
    internal void PutAndTryDestroy(IommufdObject obj)
    {
        lock (_objectsLock)
        {
            obj.DropUser();
            if (_objects[obj.Id] != obj || Unpublish(obj, tombstone: false) != 0)
            {
                return;
            }
        }

        WaitUnused(obj);
        obj.Destroy();
    }

    /// <summary>
    /// The in-kernel owner gives its reference back and destroys the object, after the calls that use it ended (iommufd_object_destroy_user).
    /// </summary>
    internal void DestroyOwned(IommufdObject obj, bool tombstone = false)
    {
        WaitUnused(obj);
        lock (_objectsLock)
        {
            obj.DropUser();
            if (_objects[obj.Id] != obj || Unpublish(obj, tombstone) != 0)
            {
                Interlocked.Increment(ref obj.WaitCount);
                return;
            }
        }

        obj.Destroy();
    }

    private static bool TryLock(IommufdObject obj)
    {
        if (obj.Users == 0 || Volatile.Read(ref obj.WaitCount) == 0)
        {
            return false;
        }

        obj.AddUser();
        Interlocked.Increment(ref obj.WaitCount);
        return true;
    }

    // The object lock is held.
    private int Unpublish(IommufdObject obj, bool tombstone)
    {
        if (Interlocked.CompareExchange(ref obj.Users, 0, 1) != 1)
        {
            return -Errno.EBUSY;
        }

        if (tombstone)
        {
            _objects.Tombstone(obj.Id);
        }
        else
        {
            _objects.Free(obj.Id);
        }

        if (_vfioIoas == obj)
        {
            _vfioIoas = null;
        }

        return 0;
    }

    // iommufd_object_dec_wait
    private static void WaitUnused(IommufdObject obj)
    {
        if (Interlocked.Decrement(ref obj.WaitCount) == 0)
        {
            return;
        }

        obj.PreDestroy();
        var spin = default(SpinWait);
        while (Volatile.Read(ref obj.WaitCount) > 0)
        {
            spin.SpinOnce();
        }
    }

    // iommufd_fops_release: leaves first, as often as it takes.
    private void DestroyAll()
    {
        for (var destroyed = true; destroyed;)
        {
            destroyed = false;
            for (uint id = 0; id < _objects.End; id++)
            {
                if (_objects[id] is { } obj && Interlocked.CompareExchange(ref obj.Users, 0, 1) == 1)
                {
                    destroyed = true;
                    _objects.Free(id);
                    obj.Destroy();
                }
            }
        }
    }
}
