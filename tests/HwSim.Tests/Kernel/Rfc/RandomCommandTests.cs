using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>
/// Random commands with arguments that are often nearly right, and with bytes that are not: every one is answered, and in the end nothing is left.
/// </summary>
public sealed unsafe class RandomCommandTests
{
    private const ulong Page = RfcMachine.Page;
    private static readonly int[] s_errnos =
    [
        Errno.EINVAL, Errno.EBUSY, Errno.EEXIST, Errno.EFAULT, Errno.ENOTTY, Errno.EOVERFLOW, Errno.ENODEV, Errno.ENOMEM, Errno.EOPNOTSUPP,
        Errno.EPERM, Errno.ENOSPC, Errno.EADDRINUSE, Errno.EBADF, Errno.E2BIG,
    ];

    private static readonly uint[] s_iommu =
    [
        IOMMU_CHECK_EXTENSION, IOMMU_DEVICE_GET_INFO, IOMMU_IOASID_ALLOC, IOMMU_IOASID_FREE, IOMMU_MAP_DMA, IOMMU_UNMAP_DMA, IOMMU_INVALIDATE_CACHE,
        IOMMU_IOASID_FAULT_REGION,
        IOMMU_IOASID_FAULT_COMPLETE, IOMMU_IOASID_DIRTY,
    ];

    private static readonly uint[] s_device =
    [
        VFIO_BIND_IOMMU_FD, VFIO_ATTACH_IOASID, VFIO_DETACH_IOASID, VFIO_DEVICE_BIND_IOMMUFD, VFIO_DEVICE_ATTACH_IOASID, VFIO_DEVICE_DETACH_IOASID,
        Vfio.VFIO_DEVICE_GET_INFO,
        Vfio.VFIO_DEVICE_GET_REGION_INFO, Vfio.VFIO_DEVICE_RESET,
    ];

    [Theory]
    [InlineData("rfc", 1)]
    [InlineData("rfc", 2)]
    [InlineData("rfc-smmuv3", 3)]
    [InlineData("rfc-amd", 4)]
    [InlineData("rfc-riscv", 5)]
    [Trait("rfc", "3.4-errno")]
    public void Every_command_is_answered_and_nothing_is_left(string topology, int seed)
    {
        using var machine = new RfcMachine(topology);
        var random = new Random(seed);

        // Behind an SMMUv3 the second of the pair has no IOMMU.
        string[] all = [RfcMachine.Edu, RfcMachine.PairA, RfcMachine.PairB, RfcMachine.Accelerator, RfcMachine.Enqcmd];
        string[] functions = [.. all.Where(f => machine.Host.IommuDevice(f)!.Group is not null)];
        int[] iommus = [machine.OpenIommu(), machine.OpenIommu()];
        var devices = functions.Select(machine.OpenDevice)
            .Concat(new[] { "sw", "default", "pasid", "enqcmd" }.Select(t => machine.OpenMdev(machine.CreateMdev(t)))).ToList();
        int kvm = machine.Kernel.Open("/dev/kvm", Libc.O_RDWR, 0), vm = machine.Kernel.Ioctl(kvm, 0xae01, 0);
        ulong memory = machine.Memory(64 * Page);
        var regions = new List<int>();
        int[] succeeded = new int[15];
        for (int step = 0; step < 4000; step++)
        {
            int kind = random.Next(15);
            int iommu = iommus[random.Next(2)], device = devices[random.Next(devices.Count)], ioasid = random.Next(-1, 7);
            uint? vpasid = random.Next(3) == 0 ? (uint)random.Next(4) : null;
            ulong iova = (ulong)random.Next(32) * Page, size = (ulong)random.Next(1, 5) * Page;
            long result = kind switch
            {
                0 => machine.Bind(device, iommu, (ulong)random.Next(12)),
                1 or 2 or 3 => machine.Attach(device, iommu, ioasid, vpasid, random.Next(8) == 0 ? (uint)random.Next(8) & ~1u : 0),
                4 or 5 => machine.Detach(device, iommu, ioasid, vpasid),
                6 or 7 => machine.Alloc(iommu, Attributes(random, memory)),
                8 => machine.Free(iommu, ioasid),
                9 or 10 => machine.Map(iommu, ioasid, iova, (random.Next(2) == 0 ? memory : 0) + iova, size, (uint)random.Next(4)),
                11 => machine.Unmap(iommu, ioasid, iova, random.Next(4) == 0 ? 32 * Page : size),
                12 => machine.Invalidate(iommu, ioasid, (iommu_inv_granularity)random.Next(4), (uint)random.Next(8), iova, (ulong)random.Next(3)),
                13 => Pasid(machine, vm, iommu, ioasid, random),
                _ => random.Next(2) == 0 ? Bytes(machine, random, iommu, regions) : Bytes(machine, random, device, null),
            };
            succeeded[kind] += result >= 0 ? 1 : 0;
            Assert.True(result >= 0 || s_errnos.Contains((int)-result), $"step {step}: {result}");
            _ = machine.DmaRead(functions[random.Next(functions.Length)], iova, vpasid ?? uint.MaxValue);
            if (random.Next(200) == 0)
            {
                int at = random.Next(functions.Length);
                Assert.Equal(0, machine.Kernel.Close(devices[at]));
                devices[at] = machine.OpenDevice(functions[at]);
            }
        }

        // Not only refusals: each kind of command but the invalidation, which needs a user's table, has worked.
        Assert.All(Enumerable.Range(0, 12), kind => Assert.NotEqual((kind, 0), (kind, succeeded[kind])));
        Assert.All(devices.Concat(iommus).Concat([vm, kvm]).Concat(regions), descriptor => Assert.Equal(0, machine.Kernel.Close(descriptor)));
        Assert.Equal(0UL, machine.PinnedPages);
        Assert.All(functions, f => Assert.Same(machine.Group(f).DefaultDomain, machine.Group(f).Domain));
    }

    private static iommu_ioasid_alloc_attr Attributes(Random random, ulong memory)
    {
        bool isUser = random.Next(3) == 0;
        return new iommu_ioasid_alloc_attr
        {
            flags = (uint)random.Next(8),
            type = isUser ? IOMMU_IOASID_TYPE_USER : IOMMU_IOASID_TYPE_KERNEL_TYPE1V2,
            addr_width = (uint)(random.Next(4) switch { 0 => 39, 1 => 48, 2 => 64 + random.Next(21), _ => random.Next(66) }),
            parent = random.Next(-1, 6),
            format = isUser ? (uint)random.Next(8) : 0,
            addr = isUser ? (ulong)random.Next(16) * Page : 0,
            user_pgtable = isUser ? (uint)random.Next(2) : 0,
            user_pasid_table = isUser ? (uint)random.Next(2) : 0,
        };
    }

    private static int Pasid(RfcMachine machine, int vm, int iommu, int ioasid, Random random)
    {
        if (random.Next(4) == 0)
        {
            byte* cap = stackalloc byte[104];
            new Span<byte>(cap, 104).Clear();
            *(uint*)cap = KVM_CAP_PASID_TRANSLATION;
            return machine.Kernel.Ioctl(vm, 0x4068aea3, (nint)cap);
        }

        kvm_pasid argument = new() { argsz = (uint)sizeof(kvm_pasid), iommu_fd = iommu, ioasid = ioasid, user_pasid = (uint)random.Next(4) };
        return machine.Ioctl(vm, random.Next(2) == 0 ? KVM_MAP_PASID : KVM_UNMAP_PASID, ref argument);
    }

    // A size that is often right, small numbers, and sometimes anything.
    private static int Bytes(RfcMachine machine, Random random, int descriptor, List<int>? regions)
    {
        byte* bytes = stackalloc byte[256];
        random.NextBytes(new Span<byte>(bytes, 256));
        var words = (uint*)bytes;
        for (int i = 0; i < 64; i++)
        {
            words[i] = random.Next(6) == 0 ? words[i] : (uint)random.Next(-1, 4);
        }

        words[0] = (uint)(random.Next(3) == 0 ? random.Next(256) : new[] { 16, 24, 32, 40, 48, 56, 64 }[random.Next(7)]);
        uint request = random.Next(2) == 0 ? s_iommu[random.Next(s_iommu.Length)] : s_device[random.Next(s_device.Length)];
        int result = machine.Kernel.Ioctl(descriptor, request, random.Next(20) == 0 ? random.Next(4096) : (nint)bytes);
        if (result == 0 && request == IOMMU_IOASID_FAULT_REGION)
        {
            // On a device the number is another command.
            regions?.Add(((iommu_ioasid_fault_region*)bytes)->out_fd);
        }

        return result;
    }
}
