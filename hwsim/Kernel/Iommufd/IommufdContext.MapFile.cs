using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>IOMMU_IOAS_MAP_FILE, IOMMU_IOAS_CHANGE_PROCESS and IOMMU_IOAS_NOIOMMU_GET_PA.</summary>
public sealed partial class IommufdContext
{
    private readonly NoIommuOps _noIommuOps = new();

    private int IoasMapFile(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_ioas_map_file>();
        if ((cmd.flags & ~MapFlags) != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (cmd.iova == ulong.MaxValue || cmd.length == ulong.MaxValue)
        {
            return -Errno.EOVERFLOW;
        }

        if (((iommufd_ioas_map_flags)cmd.flags & ReadWriteFlags) == 0)
        {
            return -Errno.EINVAL;
        }

        if (GetIoas(cmd.ioas_id) is not { } ioas)
        {
            return -Errno.ENOENT;
        }

        var prot = ProtOf(cmd.flags);
        var rc = NewFilePages(ucmd.User, cmd.fd, cmd.start, cmd.length, (prot & IommuProt.Write) != 0, out var pages);
        if (rc == 0)
        {
            var iova = cmd.iova;
            rc = ioas.Pagetable.MapPages(pages!, cmd.start % IoptPages.PageSize, cmd.length, ref iova, prot, IsAutomatic(cmd.flags));
            if (rc == 0)
            {
                cmd.iova = iova;
                rc = ucmd.Respond<iommu_ioas_map_file>();
            }
        }

        PutObject(ioas);
        return rc;
    }

    // The first half of iopt_map_file_pages.
    private int NewFilePages(IUserMemory user, int descriptor, ulong start, ulong length, bool writable, out IoptPages? pages)
    {
        pages = null;
        if (length == 0)
        {
            return -Errno.EINVAL;
        }

        if (start + length - 1 < start)
        {
            return -Errno.EOVERFLOW;
        }

        var startByte = start % IoptPages.PageSize;
        var file = user.Process.GetFile(descriptor);
        if (file is SimulatedDmaBuf buffer)
        {
            var failed = NewDmaBufPages(user, buffer, start, length, writable, out pages);
            if (failed != 0)
            {
                buffer.Put();
            }

            return failed;
        }

        file?.Put();
        var rc = NewPages(user, start - startByte, startByte, length, writable, out pages);
        if (rc != 0)
        {
            return rc;
        }

        // A file of the simulated kernel is no memory file, whatever its descriptor is made of.
        rc = FilePages.Open(user.Process, file == null ? descriptor : -1, pages!.Address, pages.PageCount * IoptPages.PageSize, out var source);
        if (rc != 0 && file == null)
        {
            PutPages(pages);
            pages = null;
            return rc;
        }

        source ??= FilePages.None(user.Process);
        pages.Source = new IoptPagesExtra(source);
        return 0;
    }

    private int NewDmaBufPages(IUserMemory user, SimulatedDmaBuf buffer, ulong start, ulong length, bool writable, out IoptPages? pages)
    {
        pages = null;
        if (buffer.Size <= start + length - 1 || length / IoptPages.PageSize >= uint.MaxValue)
        {
            return -Errno.EINVAL;
        }

        var startByte = start % IoptPages.PageSize;
        var rc = NewPages(user, start - startByte, startByte, length, writable, out pages);
        if (rc != 0)
        {
            return rc;
        }

        rc = buffer.Attach(pages!);
        if (rc != 0)
        {
            PutPages(pages!);
            pages = null;
            return rc;
        }

        pages!.Mode = AccountMode.None;
        pages.Source = new IoptPagesExtra(pages.Source) { DmaBuf = new DmaBufPages(buffer, pages.Address) };
        return 0;
    }

    private int IoasChangeProcess(ref Ucmd ucmd)
    {
        if (ucmd.Command<iommu_ioas_change_process>().__reserved != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        var process = ucmd.User.Process;
        lock (_ioasCreationLock)
        {
            var held = new List<IommufdIoas>();
            lock (_objectsLock)
            {
                for (uint id = 0; id < _objects.End; id++)
                {
                    if (_objects[id] is IommufdIoas ioas && ioas.Users != 0)
                    {
                        ioas.AddUser();
                        held.Add(ioas);
                    }
                }
            }

            // All of them at once, in the order of their ids: copies may share pages between any two.
            foreach (var ioas in held)
            {
                ioas.Pagetable.Lock.Enter();
            }

            var rc = ChangeProcess(held, process);
            foreach (var ioas in held)
            {
                ioas.Pagetable.Lock.Exit();
                ioas.DropUser();
            }

            return rc;
        }
    }

    private static int ChangeProcess(List<IommufdIoas> held, SimulatedProcess process)
    {
        var files = new HashSet<IoptPages>();
        foreach (var ioas in held)
        {
            if (!ioas.Pagetable.CollectFilePages(files))
            {
                return -Errno.EINVAL;
            }
        }

        // Who charges the process itself changes with the process; so does the user's charge, which counts pinned pages per process as well.
        Span<ulong> pages = stackalloc ulong[3];
        foreach (var file in files)
        {
            if (file.Mode != AccountMode.None && file.Source.Process != process)
            {
                pages[(int)file.Mode] += file.PinnedPages;
            }
        }

        for (var mode = AccountMode.User; mode <= AccountMode.Process; mode++)
        {
            if (!Accounting.TryCharge(process, mode, pages[(int)mode]))
            {
                if (mode == AccountMode.Process)
                {
                    Accounting.Uncharge(process, AccountMode.User, pages[(int)AccountMode.User]);
                }

                return -Errno.ENOMEM;
            }
        }

        process.PinnedPages.Add(pages[1] + pages[2]);
        foreach (var file in files)
        {
            if (file.Mode != AccountMode.None && file.Source.Process != process)
            {
                file.Uncharge(file.PinnedPages);
            }

            file.Extra!.File!.Process = process;
        }

        return 0;
    }

    private int IoasNoIommuGetPa(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_ioas_noiommu_get_pa>();
        if (!Module.HasNoIommu)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (!ucmd.User.Process.Capable(Capabilities.SysRawIO))
        {
            return -Errno.EPERM;
        }

        if (cmd.flags != 0 || cmd.__reserved != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (cmd.length == 0)
        {
            return -Errno.EINVAL;
        }

        if (cmd.iova == ulong.MaxValue)
        {
            return -Errno.EOVERFLOW;
        }

        if (GetIoas(cmd.ioas_id) is not { } ioas)
        {
            return -Errno.ENOENT;
        }

        var length = cmd.length;
        var rc = ioas.Pagetable.GetPhys(cmd.iova, out var physical, ref length);
        if (rc == 0)
        {
            cmd.length = length;
            cmd.out_phys = physical;
            rc = ucmd.Respond<iommu_ioas_noiommu_get_pa>();
        }

        PutObject(ioas);
        return rc;
    }
}
