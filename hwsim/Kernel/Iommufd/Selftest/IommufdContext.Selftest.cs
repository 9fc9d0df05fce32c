using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// IOMMU_TEST_CMD, the kernel's own test front end (drivers/iommu/iommufd/selftest.c): mock devices, and looks at what a driver would see.
/// </summary>
public sealed unsafe partial class IommufdContext
{
    private int TestCommand(ref Ucmd ucmd)
    {
        ref var cmd = ref ucmd.Command<iommu_test_cmd>();
        switch ((iommu_test_op)cmd.op)
        {
            case iommu_test_op.IOMMU_TEST_OP_ADD_RESERVED:
                return TestAddReserved(ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN:
                return TestMockDomain(ref ucmd, ref cmd, 0);
            case iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS:
                return TestMockDomain(ref ucmd, ref cmd, cmd.mock_domain_flags_dev_flags);
            case iommu_test_op.IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE:
                return TestReplace(ref ucmd, ref cmd, IommuGroup.NoPasid, ref cmd.mock_domain_replace_pt_id);
            case iommu_test_op.IOMMU_TEST_OP_MD_CHECK_MAP:
                return TestCheckMap(ref ucmd, ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_MD_CHECK_REFS:
                return TestCheckRefs(ref ucmd, ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_MD_CHECK_IOTLB:
                return TestCheckIotlb(ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_DEV_CHECK_CACHE:
                return TestCheckCache(ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_CREATE_ACCESS:
                return TestCreateAccess(ref ucmd, ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_ACCESS_REPLACE_IOAS:
                return TestAccessReplace(ref ucmd, ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_ACCESS_PAGES:
                return TestAccessPages(ref ucmd, ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_ACCESS_RW:
                return TestAccessReadWrite(ref ucmd, ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_DESTROY_ACCESS_PAGES:
                return TestDestroyAccessPages(ref ucmd, ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT:
                // How much memory the kernel uses on the way makes no difference here.
                return cmd.memory_limit_limit < 12 ? -Errno.EINVAL : 0;
            case iommu_test_op.IOMMU_TEST_OP_DIRTY:
                return TestDirty(ref ucmd, ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_TRIGGER_IOPF:
                return TestTriggerFault(ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_TRIGGER_VEVENT:
                return TestTriggerEvent(ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_PASID_ATTACH:
                return TestPasidAttach(ref ucmd, ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_PASID_REPLACE:
                return TestReplace(ref ucmd, ref cmd, cmd.pasid_attach_pasid, ref cmd.pasid_attach_pt_id);
            case iommu_test_op.IOMMU_TEST_OP_PASID_DETACH:
                return TestPasidDetach(ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_PASID_CHECK_HWPT:
                return TestPasidCheck(ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_DMABUF_GET:
                return TestDmaBufGet(ref ucmd, ref cmd);
            case iommu_test_op.IOMMU_TEST_OP_DMABUF_REVOKE:
                return TestDmaBufRevoke(ref ucmd, ref cmd);
            default:
                return -Errno.EOPNOTSUPP;
        }
    }

    private int TestAddReserved(ref iommu_test_cmd cmd)
    {
        if (cmd.add_reserved_length == 0)
        {
            return -Errno.EINVAL;
        }

        var last = cmd.add_reserved_start + cmd.add_reserved_length - 1;
        if (last < cmd.add_reserved_start)
        {
            return -Errno.EOVERFLOW;
        }

        if (GetIoas(cmd.id) is not { } ioas)
        {
            return -Errno.ENOENT;
        }

        var rc = ioas.Pagetable.ReserveIova(cmd.add_reserved_start, last, ioas);
        PutObject(ioas);
        return rc;
    }

    private int TestMockDomain(ref Ucmd ucmd, ref iommu_test_cmd cmd, uint flags)
    {
        const uint Known = iommu_test_cmd.MOCK_FLAGS_DEVICE_NO_DIRTY | iommu_test_cmd.MOCK_FLAGS_DEVICE_PASID;
        if ((flags & ~Known) != 0)
        {
            return -Errno.EINVAL;
        }

        var mock = new MockDevice(Module.MockOps, Module.NextMockNumber(), flags);
        _ = new IommuGroup(Module.NextMockGroup()).AddDevice(mock);
        var obj = new SelftestObject(mock);
        Reserve(obj);
        var pt = cmd.id;
        var rc = Bind(mock, out var device);
        if (rc == 0)
        {
            rc = device!.Attach(IommuGroup.NoPasid, ref pt);
            if (rc == 0)
            {
                cmd.mock_domain_out_hwpt_id = pt;
                cmd.mock_domain_out_stdev_id = obj.Id;
                cmd.mock_domain_out_idev_id = device.Id;
                rc = ucmd.Respond<iommu_test_cmd>();
                if (rc == 0)
                {
                    obj.Device = device;
                    Publish(obj);
                    return 0;
                }

                device.Detach(IommuGroup.NoPasid);
            }

            device.Unbind();
        }

        mock.Group!.RemoveDevice(mock);
        Abort(obj);
        return rc;
    }

    private int TestReplace(ref Ucmd ucmd, ref iommu_test_cmd cmd, uint pasid, ref uint table)
    {
        if (GetObject<SelftestObject>(cmd.id, IommufdObjectType.Selftest) is not { } obj)
        {
            return -Errno.ENOENT;
        }

        var rc = obj.Device!.Replace(pasid, ref table);
        rc = rc == 0 ? ucmd.Respond<iommu_test_cmd>() : rc;
        PutObject(obj);
        return rc;
    }

    private int TestPasidAttach(ref Ucmd ucmd, ref iommu_test_cmd cmd)
    {
        if (GetObject<SelftestObject>(cmd.id, IommufdObjectType.Selftest) is not { } obj)
        {
            return -Errno.ENOENT;
        }

        var rc = obj.Device!.Attach(cmd.pasid_attach_pasid, ref cmd.pasid_attach_pt_id);
        if (rc == 0)
        {
            rc = ucmd.Respond<iommu_test_cmd>();
            if (rc != 0)
            {
                obj.Device.Detach(cmd.pasid_attach_pasid);
            }
        }

        PutObject(obj);
        return rc;
    }

    private int TestPasidDetach(ref iommu_test_cmd cmd)
    {
        if (GetObject<SelftestObject>(cmd.id, IommufdObjectType.Selftest) is not { } obj)
        {
            return -Errno.ENOENT;
        }

        obj.Device!.Detach(cmd.pasid_attach_pasid);
        PutObject(obj);
        return 0;
    }

    // Table 0: nothing is attached to the PASID.
    private int TestPasidCheck(ref iommu_test_cmd cmd)
    {
        if (GetObject<SelftestObject>(cmd.id, IommufdObjectType.Selftest) is not { } obj)
        {
            return -Errno.ENOENT;
        }

        int rc;
        var attached = obj.Mock.Group!.GetAttachHandle(cmd.pasid_check_pasid)?.Domain;
        if (cmd.pasid_check_hwpt_id == 0)
        {
            rc = attached == null ? 0 : -Errno.EINVAL;
        }
        else if (GetObject(cmd.pasid_check_hwpt_id, IommufdObjectType.Any) is { } table)
        {
            rc = table is HwPagetable hwpt && hwpt.Domain == attached ? 0 : -Errno.EINVAL;
            PutObject(table);
        }
        else
        {
            rc = -Errno.ENOENT;
        }

        PutObject(obj);
        return rc;
    }

    private int TestTriggerFault(ref iommu_test_cmd cmd)
    {
        if (GetDevice(cmd.trigger_iopf_dev_id) is not { } device)
        {
            return -Errno.ENOENT;
        }

        var rc = device.Device.IsMock ? 0 : -Errno.EINVAL;
        if (rc == 0)
        {
            var flags = IoPageFault.LastPage | (cmd.trigger_iopf_pasid != 0 ? IoPageFault.PasidValid : 0);
            device.Device.ReportFault(new IoPageFault(
                flags, cmd.trigger_iopf_pasid, cmd.trigger_iopf_grpid, cmd.trigger_iopf_perm, cmd.trigger_iopf_addr));
        }

        PutObject(device.Object);
        return rc;
    }

    private int TestTriggerEvent(ref iommu_test_cmd cmd)
    {
        if (GetDevice(cmd.trigger_vevent_dev_id) is not { } device)
        {
            return -Errno.ENOENT;
        }

        var rc = -Errno.ENOENT;
        if (device.Device is MockDevice mock)
        {
            lock (mock.ViommuLock)
            {
                if (mock.Viommu != null && mock.VirtualId != 0)
                {
                    var id = (uint)mock.VirtualId;
                    rc = mock.Viommu.ReportEvent(iommu_test_cmd.IOMMU_VEVENTQ_TYPE_SELFTEST, new ReadOnlySpan<byte>(&id, sizeof(uint)));
                }
            }
        }

        PutObject(device.Object);
        return rc;
    }
}
