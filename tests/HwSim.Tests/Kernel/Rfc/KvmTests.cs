using IommuFd.HwSim.Kernel;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;
using static IommuFd.Native.Uapi.Rfc;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>PASIDs in CPU instructions: types 7 and 8, KVM's translation, and the portal that stays shut before it.</summary>
public sealed unsafe class KvmTests : IDisposable
{
    private const ulong Page = RfcMachine.Page;
    private readonly RfcMachine _machine = new();
    private readonly int _iommu, _kvm, _vm, _ioasid;
    private readonly ulong _memory;

    public KvmTests()
    {
        _iommu = _machine.OpenIommu();
        _kvm = RfcMachine.Succeeds(_machine.Kernel.Open("/dev/kvm", Libc.O_RDWR, 0));
        _vm = RfcMachine.Succeeds(_machine.Kernel.Ioctl(_kvm, 0xae01, 0));
        _ioasid = _machine.Alloc(_iommu);
        _memory = _machine.Memory(Page);
        Assert.Equal(0, _machine.Map(_iommu, _ioasid, 0x1000, _memory, Page));
    }

    public void Dispose() => _machine.Dispose();

    [Fact]
    [Trait("rfc", "KVM_MAP_PASID")]
    [Trait("rfc", "3.3-15")]
    [Trait("rfc", "1.6-type8")]
    public void Capability_then_map_then_the_portal_opens()
    {
        int device = _machine.OpenBoundMdev("enqcmd", _iommu, 8);
        Assert.Equal((PASID_CPU | PASID_CPU_VIRT, 20u), _machine.PasidCapability(device));
        Assert.Equal(0, _machine.Attach(device, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(1, _machine.Kernel.Ioctl(_kvm, 0xae03, (nint)KVM_CAP_PASID_TRANSLATION));
        Assert.Equal(-Errno.EINVAL, Map(5));

        // Untranslated, the number on the wire could be another one's: the portal is shut.
        Assert.Equal(EnqcmdResult.Retry, _machine.Host.Enqcmd(_vm, device, 5, 0x1000, 1));
        Assert.Equal(0, Enable());
        Assert.Equal(EnqcmdResult.Fault, _machine.Host.Enqcmd(_vm, device, 5, 0x1000, 1));
        Assert.Equal(0UL, *(ulong*)_memory);
        Assert.Equal(0, Map(5));
        Assert.Equal(EnqcmdResult.Accepted, _machine.Host.Enqcmd(_vm, device, 5, 0x1000, 0xbeef));
        Assert.Equal(0xbeefUL, *(ulong*)_memory);
        Assert.Equal(EnqcmdResult.Fault, _machine.Host.Enqcmd(_vm, device, 6, 0x1000, 2));

        Assert.Equal(0, Unmap(5));
        Assert.Equal(EnqcmdResult.Fault, _machine.Host.Enqcmd(_vm, device, 5, 0x1000, 3));
        Assert.Equal(EnqcmdResult.Retry, _machine.Host.Enqcmd(-1, device, 5, 0x1000, 3));
        Assert.Equal(0xbeefUL, *(ulong*)_memory);
    }

    [Fact]
    [Trait("rfc", "1.6-type8")]
    public void All_devices_of_a_VM_share_the_number_that_the_first_took_from_the_machines_pool()
    {
        int first = _machine.OpenBoundMdev("enqcmd", _iommu, 1), second = _machine.OpenBoundMdev("enqcmd", _iommu, 2, "siov1");
        Assert.Equal(0, _machine.Attach(first, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(0, _machine.Attach(second, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(0, Enable());
        Assert.Equal(0, Map(5));
        Assert.Equal(EnqcmdResult.Accepted, _machine.Host.Enqcmd(_vm, first, 5, 0x1000, 1));
        Assert.Equal(1UL, *(ulong*)_memory);
        Assert.Equal(EnqcmdResult.Accepted, _machine.Host.Enqcmd(_vm, second, 5, 0x1000, 2));
        Assert.Equal(2UL, *(ulong*)_memory);

        // Another VM's number five is another number.
        int iommu = _machine.OpenIommu(), third = _machine.OpenBoundMdev("enqcmd", iommu, 3), other = _machine.Alloc(iommu);
        Assert.Equal(0, _machine.Map(iommu, other, 0x1000, _machine.Memory(Page, 33), Page));
        Assert.Equal(0, _machine.Attach(third, iommu, other, vpasid: 5));
        Assert.Equal(33UL, _machine.MdevRead(third, 0x1000, vpasid: 5));
        Assert.Equal(2UL, _machine.MdevRead(first, 0x1000, vpasid: 5));
        Assert.Null(_machine.DmaRead(RfcMachine.Parent, 0x1000, 5));
    }

    [Fact]
    [Trait("rfc", "3.3-11")]
    [Trait("rfc", "1.6-type8")]
    public void Two_devices_of_one_parent_cannot_have_one_number_of_a_VM()
    {
        int first = _machine.OpenBoundMdev("enqcmd", _iommu, 1), second = _machine.OpenBoundMdev("enqcmd", _iommu, 2);
        Assert.Equal(0, _machine.Attach(first, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(-Errno.EBUSY, _machine.Attach(second, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(0, _machine.Attach(second, _iommu, _ioasid, vpasid: 6));
    }

    [Fact]
    [Trait("rfc", "1.6-type7")]
    public void A_physical_devices_number_is_sent_as_it_is_and_its_portal_has_no_gate()
    {
        int device = _machine.OpenBound(RfcMachine.Enqcmd, _iommu, 7);
        Assert.Equal(0, _machine.Attach(device, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(EnqcmdResult.Accepted, _machine.Host.Enqcmd(_vm, device, 5, 0x1000, 7));
        Assert.Equal(7UL, *(ulong*)_memory);
        Assert.Equal(7UL, _machine.DmaRead(RfcMachine.Enqcmd, 0x1000, 5));
        Assert.Equal(EnqcmdResult.Fault, _machine.Host.Enqcmd(_vm, _machine.OpenBound(RfcMachine.Accelerator, _iommu, 5), 5, 0x1000, 8));
    }

    [Fact]
    [Trait("rfc", "1.6-mixing")]
    public void Types_7_and_8_do_not_have_PASIDs_in_one_VM()
    {
        int physical = _machine.OpenBound(RfcMachine.Enqcmd, _iommu, 7), mediated = _machine.OpenBoundMdev("enqcmd", _iommu, 8);
        Assert.Equal(0, _machine.Attach(physical, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(mediated, _iommu, _ioasid, vpasid: 6));
        Assert.Equal(0, _machine.Detach(physical, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(0, _machine.Attach(mediated, _iommu, _ioasid, vpasid: 6));
        Assert.Equal(-Errno.EINVAL, _machine.Attach(physical, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(0, _machine.Attach(physical, _iommu, _ioasid));
    }

    [Fact]
    [Trait("rfc", "KVM_MAP_PASID")]
    public void Map_pasid_takes_what_a_translated_device_is_attached_to_and_once()
    {
        int device = _machine.OpenBoundMdev("enqcmd", _iommu, 8);
        Assert.Equal(0, Enable());
        Assert.Equal(-Errno.EINVAL, Map(5));
        Assert.Equal(0, _machine.Attach(device, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(0, Map(5));
        Assert.Equal(-Errno.EEXIST, Map(5));
        Assert.Equal(-Errno.EINVAL, Unmap(6));
        int second = RfcMachine.Succeeds(_machine.Kernel.Ioctl(_kvm, 0xae01, 0));
        Assert.Equal(0, Enable(second));
        Assert.Equal(-Errno.EBUSY, Map(5, second));

        // A detach takes the translation with it.
        Assert.Equal(0, _machine.Detach(device, _iommu, _ioasid, vpasid: 5));
        Assert.Equal(EnqcmdResult.Fault, _machine.Host.Enqcmd(_vm, device, 5, 0x1000, 1));
        Assert.Equal(0, Unmap(5));
        Assert.Equal(0, _machine.Kernel.Close(_vm));
    }

    [Fact]
    [Trait("rfc", "3.5-1")]
    [Trait("rfc", "3.5-2")]
    [Trait("rfc", "3.5-3")]
    public void The_users_PASID_algorithm_shows_the_guest_devices_of_one_class()
    {
        var devices = new List<(int Device, uint Flags)>();
        foreach (int device in new[] { _machine.OpenBoundMdev("enqcmd", _iommu, 1), _machine.OpenBound(RfcMachine.Enqcmd, _iommu, 2),
            _machine.OpenBoundMdev("enqcmd", _iommu, 3, "siov1") })
        {
            // 1: not delegated, so that each space is registered. 2: with PASID_CPU all must have the same PASID_CPU_VIRT.
            (uint flags, uint _) = _machine.PasidCapability(device)!.Value;
            Assert.Equal(0u, flags & PASID_DELEGATED);
            if (devices.Count == 0 || devices[0].Flags == flags)
            {
                devices.Add((device, flags));
            }
        }

        Assert.Equal(2, devices.Count);

        // 3: translation is switched on with the first, and every new vPASID is mapped once.
        Assert.Equal(0, Enable());
        Assert.All(devices, d => Assert.Equal(0, _machine.Attach(d.Device, _iommu, _ioasid, vpasid: 9)));
        Assert.Equal(0, Map(9));
        Assert.All(devices, d => Assert.Equal(EnqcmdResult.Accepted, _machine.Host.Enqcmd(_vm, d.Device, 9, 0x1000, (ulong)d.Device)));
    }

    private int Enable(int? vm = null)
    {
        byte* cap = stackalloc byte[104];
        new Span<byte>(cap, 104).Clear();
        *(uint*)cap = KVM_CAP_PASID_TRANSLATION;
        return _machine.Kernel.Ioctl(vm ?? _vm, 0x4068aea3, (nint)cap);
    }

    private int Map(uint vpasid, int? vm = null) => Call(KVM_MAP_PASID, vpasid, vm ?? _vm);

    private int Unmap(uint vpasid) => Call(KVM_UNMAP_PASID, vpasid, _vm);

    private int Call(uint request, uint vpasid, int vm)
    {
        kvm_pasid argument = new() { argsz = (uint)sizeof(kvm_pasid), iommu_fd = _iommu, ioasid = _ioasid, user_pasid = vpasid };
        return _machine.Ioctl(vm, request, ref argument);
    }
}
