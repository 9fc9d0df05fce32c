using System.Numerics;
using System.Runtime.InteropServices;
using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>IOMMU_TEST_CMD: what tables, pins and caches hold, and accesses.</summary>
public sealed unsafe partial class IommufdContext
{
    // Errors that nothing else here uses.
    private const int EBADE = 52, EBADFD = 77;

    // Longer requests are refused, so that no test makes the kernel complain about its size.
    private const ulong TestLongest = 16 << 20;

    private int TestCheckMap(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        if (GetObject<HwptPaging>(cmd.id, IommufdObjectType.HwptPaging) is not { } hwpt)
        {
            return -Errno.ENOENT;
        }

        var rc = hwpt.Domain is MockPagingDomain mock ? CheckMap(ucmd.User, mock, ref cmd) : -Errno.EINVAL;
        PutObject(hwpt);
        return rc;
    }

    private int CheckMap(IUserMemory user, MockPagingDomain domain, ref iommu_test_cmd cmd)
    {
        var pageSize = 1UL << BitOperations.TrailingZeroCount(domain.PageSizeBitmap);
        if (((cmd.check_map_iova | cmd.check_map_length | cmd.check_map_uptr) & (pageSize - 1)) != 0 ||
            cmd.check_map_uptr + cmd.check_map_length < cmd.check_map_uptr)
        {
            return -Errno.EINVAL;
        }

        for (ulong done = 0; done < cmd.check_map_length; done += pageSize)
        {
            var rc = PhysicalOf(user, cmd.check_map_uptr + done, out var physical);
            if (rc != 0)
            {
                return rc;
            }

            if (physical == 0 || domain.IovaToPhys(cmd.check_map_iova + done) != physical)
            {
                return -Errno.EINVAL;
            }
        }

        return 0;
    }

    // Where a user's page is; 0 when nobody pinned it.
    private int PhysicalOf(IUserMemory user, ulong address, out ulong physical)
    {
        physical = 0;
        var page = address & ~(IoptPages.PageSize - 1);
        var rc = user.Pin(page, IoptPages.PageSize, writable: false);
        if (rc != 0)
        {
            return rc;
        }

        ulong length = 1;
        var host = user.PagesAt(page, IoptPages.PageSize, withDevices: false).HostAddress(address, ref length);

        // SAFETY: the address only names the page.
        physical = Module.Memory.TryGetRun((void*)host, 1, out var run) ? run.Address : 0;
        user.Unpin(page, IoptPages.PageSize);
        return 0;
    }

    private int TestCheckRefs(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        if (((cmd.check_refs_length | cmd.check_refs_uptr) & (IoptPages.PageSize - 1)) != 0 ||
            cmd.check_refs_uptr + cmd.check_refs_length < cmd.check_refs_uptr)
        {
            return -Errno.EINVAL;
        }

        var user = ucmd.User;
        for (ulong done = 0; done < cmd.check_refs_length; done += IoptPages.PageSize)
        {
            var rc = user.Pin(cmd.check_refs_uptr + done, IoptPages.PageSize, writable: false);
            if (rc != 0)
            {
                return rc;
            }

            var length = IoptPages.PageSize;
            var host = user.PagesAt(cmd.check_refs_uptr + done, length, withDevices: false).HostAddress(cmd.check_refs_uptr + done, ref length);

            // SAFETY: the address only names the page.
            var pins = Module.Memory.PinCount((void*)host);
            user.Unpin(cmd.check_refs_uptr + done, IoptPages.PageSize);
            if (pins != cmd.check_refs_refs)
            {
                return -Errno.EIO;
            }
        }

        return 0;
    }

    private int TestCheckIotlb(ref iommu_test_cmd cmd)
    {
        if (GetObject<HwptNested>(cmd.id, IommufdObjectType.HwptNested) is not { } hwpt)
        {
            return -Errno.ENOENT;
        }

        var right = hwpt.Domain is MockNestedDomain mock && cmd.check_iotlb_id < MockNestedDomain.IotlbCount &&
            mock.Iotlb[cmd.check_iotlb_id] == cmd.check_iotlb_iotlb;
        PutObject(hwpt);
        return right ? 0 : -Errno.EINVAL;
    }

    private int TestCheckCache(ref iommu_test_cmd cmd)
    {
        if (GetDevice(cmd.id) is not { } device)
        {
            return -Errno.ENOENT;
        }

        var right = device.Device is MockDevice mock && cmd.check_dev_cache_id < MockDevice.CacheCount &&
            mock.Cache[cmd.check_dev_cache_id] == cmd.check_dev_cache_cache;
        PutObject(device.Object);
        return right ? 0 : -Errno.EINVAL;
    }

    private int TestDirty(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        var (size, length) = (cmd.dirty_page_size, cmd.dirty_length);
        if (size == 0 || length == 0 || cmd.dirty_iova % size != 0 || length % size != 0 || cmd.dirty_uptr == 0)
        {
            return -Errno.EINVAL;
        }

        if (length / size > TestLongest * 8)
        {
            return -Errno.EOVERFLOW;
        }

        if (GetObject<HwptPaging>(cmd.id, IommufdObjectType.HwptPaging) is not { } hwpt)
        {
            return -Errno.ENOENT;
        }

        var rc = -Errno.EINVAL;
        if (hwpt.Domain is MockPagingDomain { IsTracking: true } mock)
        {
            var bits = new byte[((length / size) + 7) / 8];
            fixed (byte* p = bits)
            {
                rc = ucmd.User.CopyFrom(cmd.dirty_uptr, p, (nuint)bits.Length);
            }

            if (rc == 0)
            {
                ulong count = 0;
                for (ulong i = 0; i < length / size; i++)
                {
                    if ((bits[i / 8] & (1 << (int)(i % 8))) != 0)
                    {
                        mock.SetDirty(cmd.dirty_iova + (i * size));
                        count++;
                    }
                }

                cmd.dirty_out_nr_dirty = count;
                rc = ucmd.Respond<iommu_test_cmd>();
            }
        }

        PutObject(hwpt);
        return rc;
    }

    private int TestDmaBufGet(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        var length = (cmd.dmabuf_get_length + IoptPages.PageSize - 1) & ~(IoptPages.PageSize - 1);
        if (length == 0 || length > IoptPages.PageSize * 512)
        {
            return -Errno.EINVAL;
        }

        var sizeLg2 = BitOperations.Log2(BitOperations.RoundUpToPowerOf2(length));
        var physical = Module.Memory.Allocate(sizeLg2);
        if (physical == 0)
        {
            return -Errno.ENOMEM;
        }

        // The descriptor is the result, as on a correct kernel; 7.3.4 returns 0 here.
        var buffer = new SelftestDmaBuf(Module.Memory, physical, sizeLg2, length);
        var rc = ucmd.User.Process.InstallFile(buffer);
        if (rc < 0)
        {
            buffer.Put();
        }

        return rc;
    }

    private static int TestDmaBufRevoke(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        var file = ucmd.User.Process.GetFile(cmd.dmabuf_revoke_dmabuf_fd);
        if (file is not SimulatedDmaBuf buffer)
        {
            var isOpen = file != null || Native.Libc.Fcntl(cmd.dmabuf_revoke_dmabuf_fd, Native.Libc.F_GETFD, 0) >= 0;
            file?.Put();
            return isOpen ? -Errno.EINVAL : -Errno.EBADF;
        }

        var rc = buffer is SelftestDmaBuf ? 0 : -Errno.EOPNOTSUPP;
        if (rc == 0)
        {
            buffer.Revoke();
            if (cmd.dmabuf_revoke_revoked == 0)
            {
                buffer.Restore();
            }
        }

        buffer.Put();
        return rc;
    }
}
