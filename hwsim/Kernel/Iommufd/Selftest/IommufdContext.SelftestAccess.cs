using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>IOMMU_TEST_CMD: accesses, which are files of their own.</summary>
public sealed unsafe partial class IommufdContext
{
    private int TestCreateAccess(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        if ((cmd.create_access_flags & ~iommu_test_cmd.MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES) != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        var file = new SelftestAccess { PinsPages = cmd.create_access_flags != 0 };
        var access = CreateAccess(file.PinsPages, file.Unmap);
        var rc = access.Attach(cmd.id);
        rc = rc == 0 ? ucmd.Respond<iommu_test_cmd>() : rc;
        if (rc == 0)
        {
            file.Access = access;
            rc = ucmd.User.Process.InstallFile(file);
            file.Access = rc < 0 ? null : access;
        }

        if (rc < 0)
        {
            access.Destroy();
            file.Put();
            return rc;
        }

        cmd.create_access_out_access_fd = (uint)rc;
        return ucmd.Respond<iommu_test_cmd>();
    }

    // Every answer but -EBADFD holds a reference to the file.
    private static SelftestAccess? GetAccessFile(ref Ucmd ucmd, uint descriptor)
    {
        var file = ucmd.User.Process.GetFile((int)descriptor);
        if (file is SelftestAccess access)
        {
            return access;
        }

        file?.Put();
        return null;
    }

    private static int TestAccessReplace(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        if (GetAccessFile(ref ucmd, cmd.id) is not { } file)
        {
            return -EBADFD;
        }

        var rc = file.Access!.Replace(cmd.access_replace_ioas_ioas_id);
        file.Put();
        return rc;
    }

    private static int TestDestroyAccessPages(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        if (GetAccessFile(ref ucmd, cmd.id) is not { } file)
        {
            return -EBADFD;
        }

        var rc = file.Remove(cmd.destroy_access_pages_access_pages_id) ? 0 : -Errno.ENOENT;
        file.Put();
        return rc;
    }

    private static int TestAccessPages(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        if (cmd.access_pages_length > TestLongest)
        {
            return -Errno.ENOMEM;
        }

        if ((cmd.access_pages_flags & ~(iommu_test_cmd.MOCK_FLAGS_ACCESS_WRITE | iommu_test_cmd.MOCK_FLAGS_ACCESS_SYZ)) != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (GetAccessFile(ref ucmd, cmd.id) is not { } file)
        {
            return -EBADFD;
        }

        int rc = -Errno.EOPNOTSUPP;
        if (file.PinsPages)
        {
            lock (file.Lock)
            {
                rc = AccessPages(ref ucmd, ref cmd, file);
            }
        }

        file.Put();
        return rc;
    }

    private static int AccessPages(ref Ucmd ucmd, ref iommu_test_cmd cmd, SelftestAccess file)
    {
        const ulong Mask = IoptPages.PageSize - 1;
        var (iova, length) = (cmd.access_pages_iova, cmd.access_pages_length);
        var first = iova & ~Mask;
        var pages = new nint[(((iova + length + Mask) & ~Mask) - first) / IoptPages.PageSize];
        var rc = file.Access!.PinPages(iova, length, pages, (cmd.access_pages_flags & iommu_test_cmd.MOCK_FLAGS_ACCESS_WRITE) != 0);
        if (rc != 0)
        {
            return rc;
        }

        if (cmd.access_pages_uptr != 0)
        {
            var address = cmd.access_pages_uptr - (iova - first);
            for (var i = 0; i < pages.Length && rc == 0; i++, address += IoptPages.PageSize)
            {
                rc = ucmd.User.Pin(address & ~Mask, IoptPages.PageSize, writable: false);
                if (rc == 0)
                {
                    var one = IoptPages.PageSize;
                    rc = ucmd.User.PagesAt(address & ~Mask, one, withDevices: false).HostAddress(address & ~Mask, ref one) == pages[i] ? 0 : -EBADE;
                    ucmd.User.Unpin(address & ~Mask, IoptPages.PageSize);
                }
            }
        }

        if (rc == 0)
        {
            cmd.access_pages_out_access_pages_id = file.Add(iova, length);
            rc = ucmd.Respond<iommu_test_cmd>();
            if (rc != 0)
            {
                file.Remove(cmd.access_pages_out_access_pages_id);
            }

            return rc;
        }

        file.Access.UnpinPages(iova, length);
        return rc;
    }

    private static int TestAccessReadWrite(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        const uint Known = iommu_test_cmd.MOCK_ACCESS_RW_WRITE | iommu_test_cmd.MOCK_ACCESS_RW_SLOW_PATH | iommu_test_cmd.MOCK_FLAGS_ACCESS_SYZ;
        if (cmd.access_rw_length > TestLongest)
        {
            return -Errno.ENOMEM;
        }

        if ((cmd.access_rw_flags & ~Known) != 0)
        {
            return -Errno.EOPNOTSUPP;
        }

        if (GetAccessFile(ref ucmd, cmd.id) is not { } file)
        {
            return -EBADFD;
        }

        var write = (cmd.access_rw_flags & iommu_test_cmd.MOCK_ACCESS_RW_WRITE) != 0;
        var length = cmd.access_rw_length;
        int rc;
        fixed (byte* data = new byte[length + 1])
        {
            rc = write ? ucmd.User.CopyFrom(cmd.access_rw_uptr, data, (nuint)length) : 0;
            rc = rc == 0 ? file.Access!.ReadWrite(cmd.access_rw_iova, data, length, write) : rc;
            rc = rc == 0 && !write ? ucmd.User.CopyTo(cmd.access_rw_uptr, data, (nuint)length) : rc;
        }

        file.Put();
        return rc;
    }
}
