using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A device that user space can drive (struct vfio_device with its operations, drivers/vfio/vfio_main.c). A bus driver derives from it.
/// </summary>
/// <param name="core">VFIO.</param>
/// <param name="name">Name of the device on its bus.</param>
/// <param name="iommu">The IOMMU core's view of the device.</param>
/// <param name="directory">The device's directory in sysfs.</param>
internal abstract class VfioDevice(VfioCore core, string name, IommuDevice iommu, DirectoryNode directory)
{
    private readonly object _released = new();
    private int _registrations = 1;

    /// <summary>VFIO.</summary>
    public VfioCore Core { get; } = core;

    /// <summary>Name of the device on its bus.</summary>
    public string Name { get; } = name;

    /// <summary>The IOMMU core's view of the device.</summary>
    public IommuDevice Iommu { get; } = iommu;

    /// <summary>The device's directory in sysfs.</summary>
    public DirectoryNode Directory { get; } = directory;

    /// <summary>The number in vfioN.</summary>
    public int Index { get; set; }

    /// <summary>True when the device is used without an IOMMU.</summary>
    public bool NoIommu { get; set; }

    /// <summary>Its name under /sys/class/vfio-dev and /dev/vfio/devices.</summary>
    public string NodeName => (NoIommu ? "noiommu-vfio" : "vfio") + Index.ToString(System.Globalization.CultureInfo.InvariantCulture);

    /// <summary>The devices that are reset together; its lock is the one of everything below.</summary>
    public VfioDeviceSet Set { get; set; } = null!;

    /// <summary>Its VFIO group.</summary>
    public VfioGroup Group { get; set; } = null!;

    /// <summary>Open files that have access.</summary>
    public int OpenCount { get; set; }

    /// <summary>True while it is bound through its cdev.</summary>
    public bool CdevOpened { get; set; }

    /// <summary>The device in the iommufd it is bound to.</summary>
    public IommufdDevice? IommufdDevice { get; set; }

    /// <summary>True while <see cref="IommufdDevice"/> is attached without a PASID.</summary>
    public bool IommufdAttached { get; set; }

    /// <summary>PASIDs that are attached.</summary>
    public HashSet<uint> Pasids { get; } = [];

    /// <summary>vfio_device_try_get_registration: false once the device is on its way out.</summary>
    public bool TryGetRegistration()
    {
        int seen = Volatile.Read(ref _registrations);
        while (seen != 0)
        {
            int found = Interlocked.CompareExchange(ref _registrations, seen + 1, seen);
            if (found == seen)
            {
                return true;
            }

            seen = found;
        }

        return false;
    }

    /// <summary>vfio_device_put_registration.</summary>
    public void PutRegistration()
    {
        if (Interlocked.Decrement(ref _registrations) == 0)
        {
            lock (_released)
            {
                Monitor.PulseAll(_released);
            }
        }
    }

    /// <summary>Waits until the last file is closed; asks the user for the device at once and every ten seconds.</summary>
    public void WaitForRelease()
    {
        PutRegistration();
        for (uint i = 0; Volatile.Read(ref _registrations) != 0; i++)
        {
            Request(i);
            lock (_released)
            {
                if (Volatile.Read(ref _registrations) != 0)
                {
                    _ = Monitor.Wait(_released, TimeSpan.FromSeconds(10));
                }
            }
        }
    }

    /// <summary>vfio_df_open: the first file opens the device, only a group's files may be several. The set's lock is held.</summary>
    public int Open(VfioDeviceFile file)
    {
        if (OpenCount != 0 && file.Group is null)
        {
            return -Errno.EINVAL;
        }

        if (OpenCount != 0)
        {
            OpenCount++;
            return 0;
        }

        int error = file.Iommufd is not null ? BindIommufd(file) : Group.UseContainer();
        if (error < 0)
        {
            return error;
        }

        OpenCount = 1;
        error = OpenDevice();
        if (error < 0)
        {
            OpenCount = 0;
            Unuse(file);
        }

        return error;
    }

    /// <summary>vfio_df_close. The set's lock is held.</summary>
    public void Close(VfioDeviceFile file)
    {
        if (OpenCount == 1)
        {
            CloseDevice();
            Unuse(file);
        }

        OpenCount--;
    }

    /// <summary>Opens the device for a file that owns the group's DMA by itself. The set's lock is held.</summary>
    public int OpenOwned()
    {
        int error = OpenDevice();
        OpenCount = error < 0 ? 0 : 1;
        return error;
    }

    /// <summary>Undoes <see cref="OpenOwned"/>. The set's lock is held.</summary>
    public void CloseOwned()
    {
        CloseDevice();
        OpenCount = 0;
    }

    /// <summary>vfio_iommufd_physical_bind and its kin.</summary>
    protected virtual int BindIommufd(VfioDeviceFile file)
    {
        // A group without an IOMMU needs no binding.
        if (file.Group is not null && Group.Type == VfioGroupType.NoIommu)
        {
            return 0;
        }

        int error = file.Iommufd!.Bind(Iommu, out IommufdDevice? device);
        if (error == 0)
        {
            IommufdDevice = device;
            file.DeviceId = device!.Id;
        }

        return error;
    }

    /// <summary>vfio_iommufd_physical_unbind: PASIDs first.</summary>
    protected virtual void UnbindIommufd()
    {
        if (IommufdDevice is not { } device)
        {
            return;
        }

        foreach (uint pasid in Pasids)
        {
            device.Detach(pasid);
        }

        Pasids.Clear();
        if (IommufdAttached)
        {
            device.Detach(IommuGroup.NoPasid);
            IommufdAttached = false;
        }

        device.Unbind();
        IommufdDevice = null;
    }

    /// <summary>attach_ioas: attaches, or replaces what is attached.</summary>
    public virtual int AttachIoas(ref uint pageTableId)
    {
        if (IommufdDevice is not { } device)
        {
            return -Errno.EINVAL;
        }

        int error = IommufdAttached ? device.Replace(IommuGroup.NoPasid, ref pageTableId) : device.Attach(IommuGroup.NoPasid, ref pageTableId);
        IommufdAttached |= error == 0;
        return error;
    }

    /// <summary>detach_ioas.</summary>
    public virtual void DetachIoas()
    {
        if (IommufdDevice is { } device && IommufdAttached)
        {
            device.Detach(IommuGroup.NoPasid);
            IommufdAttached = false;
        }
    }

    /// <summary>True when PASIDs can be attached at all.</summary>
    public virtual bool HasPasids => true;

    /// <summary>pasid_attach_ioas.</summary>
    public int AttachPasid(uint pasid, ref uint pageTableId)
    {
        if (IommufdDevice is not { } device)
        {
            return -Errno.EINVAL;
        }

        if (Pasids.Contains(pasid))
        {
            return device.Replace(pasid, ref pageTableId);
        }

        // The id allocator of the kernel holds numbers up to INT_MAX.
        if (pasid > int.MaxValue)
        {
            return -Errno.ENOSPC;
        }

        int error = device.Attach(pasid, ref pageTableId);
        if (error == 0)
        {
            Pasids.Add(pasid);
        }

        return error;
    }

    /// <summary>pasid_detach_ioas.</summary>
    public void DetachPasid(uint pasid)
    {
        if (Pasids.Remove(pasid))
        {
            IommufdDevice?.Detach(pasid);
        }
    }

    /// <summary>open_device: the first user is there.</summary>
    protected abstract int OpenDevice();

    /// <summary>close_device: the last user is gone.</summary>
    protected abstract void CloseDevice();

    /// <summary>Commands that VFIO itself does not know.</summary>
    public abstract int Ioctl(uint request, ulong argument, IUserMemory user);

    /// <summary>Describes a region; capabilities are added to <paramref name="capabilities"/>.</summary>
    public abstract int RegionInfo(ref Native.Uapi.vfio_region_info info, List<byte[]> capabilities);

    /// <summary>A feature that VFIO itself does not know.</summary>
    public virtual int Feature(uint flags, ulong data, uint size, IUserMemory user) => -Errno.ENOTTY;

    /// <summary>Reads a region.</summary>
    public abstract nint Read(ulong buffer, nuint count, long offset, IUserMemory user);

    /// <summary>Writes a region.</summary>
    public abstract nint Write(ulong buffer, nuint count, long offset, IUserMemory user);

    /// <summary>Maps a region.</summary>
    public virtual nint Mmap(nint address, nuint length, int protection, int flags, long offset) => -Errno.EINVAL;

    /// <summary>The memory file behind a region, with its bytes at <see cref="Devices.DeviceMemory.MapBias"/> + offset.</summary>
    public virtual int MapSource(nuint length, int flags, long offset, out int descriptor)
    {
        descriptor = -1;
        return -Errno.EINVAL;
    }

    /// <summary>The kernel wants the device back.</summary>
    public virtual void Request(uint count)
    {
    }

    /// <summary>Does the name given to VFIO_GROUP_GET_DEVICE_FD mean this device? 1 yes, 0 no, or -errno.</summary>
    public virtual int Match(string text) => text == Name ? 1 : 0;

    /// <summary>True when the device understands VF tokens at all.</summary>
    public virtual bool HasTokens => false;

    /// <summary>Checks a VF token; null when none was given.</summary>
    public virtual int MatchToken(Guid? token) => 0;

    private void Unuse(VfioDeviceFile file)
    {
        if (file.Iommufd is not null)
        {
            UnbindIommufd();
        }
        else
        {
            Group.UnuseContainer();
        }
    }
}

/// <summary>Devices that are reset together (struct vfio_device_set).</summary>
internal sealed class VfioDeviceSet
{
    /// <summary>Held while a device of the set is opened, closed, bound or attached.</summary>
    public Lock Lock { get; } = new();

    /// <summary>The devices.</summary>
    public List<VfioDevice> Devices { get; } = [];
}
