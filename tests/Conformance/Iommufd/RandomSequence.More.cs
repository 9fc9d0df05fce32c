using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.HwSim.Kernel.iommu_test_cmd;
using static IommuFd.HwSim.Kernel.iommu_test_op;

namespace Conformance.Iommu;

internal sealed unsafe partial class RandomSequence
{
    private void Access()
    {
        if (_accesses.Count == 0 || (_accesses.Count < 6 && Draw(4) == 0))
        {
            uint ioas = Id(Kind.Ioas);
            bool pins = Draw(3) != 0;
            int rc = _c.CreateAccess(ioas, pins, out int fd);
            if (rc == 0)
            {
                _accesses.Add(fd);
            }

            Line($"access {ioas} {pins}", rc);
            return;
        }

        int index = Draw(_accesses.Count);
        int access = _accesses[index];
        ulong iova = Iova();
        switch (Draw(8))
        {
            case 0:
                _c.Host.Close(access);
                _accesses.RemoveAt(index);
                Line($"close access {index}", 0);
                break;
            case 1:
                uint target = Id(Kind.Ioas);
                Line($"move access {index} {target}", _c.AccessReplace(access, target));
                break;
            case 2:
                uint item = (uint)Draw(8);
                Line($"unpin {index} {item}", _c.DestroyAccessPages(access, item));
                break;
            case 3 or 4 or 5:
                ulong length = (ulong)(1 + Draw(4)) * Page;
                uint write = (uint)Draw(2);
                Line($"pin {index} {iova:x} {length:x} {write}", _c.AccessPages(access, iova, length, 0, out uint id, write), $"{id}");
                break;
            default:
                byte* data = stackalloc byte[64];
                new Span<byte>(data, 64).Fill(1);
                Line($"rw {index} {iova:x}", _c.AccessRw(access, iova, (ulong)data, (ulong)(1 + Draw(63)), (uint)Draw(2)));
                break;
        }
    }

    private void Faults()
    {
        int queue = _queues.FindIndex(static q => !q.Events);
        if (queue < 0 || (Draw(6) == 0 && _queues.Count < 6))
        {
            int rc = _c.FaultAlloc(out uint id, out int fd);
            if (rc == 0)
            {
                _queues.Add((fd, false));
                _ids[Kind.Fault].Add(id);
            }

            Line("fault queue", rc, $"{id}");
            return;
        }

        switch (Draw(4))
        {
            case 0 or 1:
                uint device = Idev(), pasid = (uint)(Draw(3) == 0 ? 1 + Draw(3) : 0), group = (uint)Draw(3);
                Line($"fault {device} {pasid} {group}", _c.TriggerFault(device, pasid, group, Iova()));
                break;
            case 2:
                iommu_hwpt_pgfault* faults = stackalloc iommu_hwpt_pgfault[4];
                nint got = _c.Host.Kernel.Read(_queues[queue].Fd, (nint)faults, (nuint)(40 * (1 + Draw(4))));
                Line($"read faults {queue}", (int)got, got > 0 ? $"{faults[0].flags} {faults[0].dev_id} {faults[0].pasid} {faults[0].grpid} "
                    + $"{faults[0].addr:x} {faults[0].cookie}" : "");
                break;
            default:
                var answer = new iommu_hwpt_page_response { cookie = (uint)Draw(4), code = (uint)Draw(3) };
                Line($"answer {queue} {answer.cookie} {answer.code}", (int)_c.Host.Kernel.Write(_queues[queue].Fd, (nint)(&answer), 8));
                break;
        }
    }

    private void Viommu()
    {
        uint viommu = Id(Kind.Viommu), device = Idev();
        switch (Draw(9))
        {
            case 0 or 1:
                uint parent = Id(Kind.Hwpt);
                int rc = _c.ViommuAlloc(device, parent, IOMMU_VIOMMU_TYPE_SELFTEST, out uint made);
                if (rc == 0)
                {
                    _ids[Kind.Viommu].Add(made);
                }

                Line($"viommu {device} {parent}", rc, rc == 0 ? $"{made}" : "");
                break;
            case 2 or 3:
                ulong virtualId = (ulong)Draw(3);
                rc = _c.VdeviceAlloc(viommu, device, virtualId, out made);
                Line($"vdevice {viommu} {device} {virtualId}", rc, rc == 0 ? $"{made}" : "");
                break;
            case 4 when _queues.Count < 8:
                uint depth = (uint)Draw(3);
                rc = _c.VeventqAlloc(viommu, IOMMU_VEVENTQ_TYPE_SELFTEST, depth, out made, out int fd);
                if (rc == 0)
                {
                    _queues.Add((fd, true));
                }

                Line($"veventq {viommu} {depth}", rc, rc == 0 ? $"{made}" : "");
                break;
            case 5:
                Line($"event {device}", _c.TriggerEvent(device));
                break;
            case 6 when _queues.FindIndex(static q => q.Events) is >= 0 and int queue:
                uint* words = stackalloc uint[16];
                nint got = _c.Host.Kernel.Read(_queues[queue].Fd, (nint)words, (nuint)(4 * Draw(16)));
                Line($"read events {queue}", (int)got, got > 0 ? $"{words[0]} {words[1]}" : "");
                break;
            case 7:
                ulong iova = Iova();
                rc = _c.HwQueueAlloc(viommu, IOMMU_HW_QUEUE_TYPE_SELFTEST, (uint)Draw(3), iova, 64, out made);
                Line($"hw queue {viommu} {iova:x}", rc, rc == 0 ? $"{made}" : "");
                break;
            default:
                rc = _c.Invalidate(viommu, IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, new iommu_viommu_invalidate_selftest[] { new() { vdev_id = (
                    uint)Draw(3), cache_id = (uint)Draw(5) } }, out uint handled);
                Line($"invalidate {viommu}", rc, $"{handled}");
                break;
        }
    }

    private void Pasid()
    {
        uint stdev = Stdev(), pasid = (uint)Draw(4), table = Id(Kind.Hwpt);
        var op = (iommu_test_op)((uint)IOMMU_TEST_OP_PASID_ATTACH + (uint)Draw(4));
        if (pasid == 0 && op != IOMMU_TEST_OP_PASID_CHECK_HWPT)
        {
            return;
        }

        int rc = _c.Pasid(op, stdev, pasid, table);
        if (rc == 0 && op == IOMMU_TEST_OP_PASID_ATTACH)
        {
            _pasids.Add((stdev, pasid));
        }
        else if (rc == 0 && op == IOMMU_TEST_OP_PASID_DETACH)
        {
            _pasids.Remove((stdev, pasid));
        }

        Line($"{op} {stdev} {pasid} {table}", rc);
    }

    private void DetachPasids(uint? only)
    {
        foreach ((uint stdev, uint pasid) in _pasids.Where(p => only == null || p.Stdev == only).ToArray())
        {
            _ = _c.Pasid(IOMMU_TEST_OP_PASID_DETACH, stdev, pasid, 0);
            _pasids.Remove((stdev, pasid));
        }
    }

    private void Container()
    {
        var ioas = new iommu_vfio_ioas { op = (ushort)Draw(3), ioas_id = Id(Kind.Ioas) };
        switch (Draw(4))
        {
            case 0:
                uint given = ioas.ioas_id;
                int rc = _c.Call(IommuFd.Native.Uapi.Iommufd.IOMMU_VFIO_IOAS, ref ioas);
                Line($"vfio ioas {ioas.op} {given}", rc, $"{ioas.ioas_id}");
                break;
            case 1:
                var map = new vfio_iommu_type1_dma_map { argsz = 32, flags = 3, vaddr = Va(), iova = Iova(), size = Length() };
                Line($"vfio map {Show(map.vaddr)} {map.size:x} {map.iova:x}",
                    _c.Host.Ioctl(_c.Fd, IommuFd.Native.Uapi.Vfio.VFIO_IOMMU_MAP_DMA, ref map));
                break;
            case 2:
                var unmap = new vfio_iommu_type1_dma_unmap { argsz = 24, flags = Draw(8) == 0 ? 2u : 0, iova = Iova(), size = Length() };
                string text = $"vfio unmap {unmap.flags} {unmap.iova:x} {unmap.size:x}";
                Line(text, _c.Host.Ioctl(_c.Fd, IommuFd.Native.Uapi.Vfio.VFIO_IOMMU_UNMAP_DMA, ref unmap), $"{unmap.size:x}");
                break;
            default:
                uint type = (uint)(1 + (2 * Draw(2)));
                Line($"vfio set {type}", _c.Host.Kernel.Ioctl(_c.Fd, IommuFd.Native.Uapi.Vfio.VFIO_SET_IOMMU, (nint)type));
                break;
        }
    }

    private void MapFile()
    {
        uint ioas = Id(Kind.Ioas);
        ulong start = (ulong)Draw(20) * Page, length = Length(), iova = Iova();
        Line($"map file {ioas} {start:x} {length:x} {iova:x}", _c.MapFile(ioas, _memFd, start, length, iova));
    }

    private void Dirty()
    {
        uint hwpt = Id(Kind.Hwpt);
        bool enable = Draw(3) != 0;
        Line($"track {hwpt} {enable}", _c.SetDirtyTracking(hwpt, enable));
        ulong iova = Iova() & ~(Page - 1);
        byte[] bits = new byte[8];
        int rc = _c.GetDirty(hwpt, iova, 8 * Page, Page, bits);
        Line($"dirty {hwpt} {iova:x}", rc, Convert.ToHexString(bits));
    }
}
