using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>Section 3.1 of our notes: the states of a device, judged by its access and its DMA.</summary>
public sealed class Rule_3_1_DeviceStateTests : IDisposable
{
    private readonly RfcMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    [Trait("rfc", "3.1-open")]
    public unsafe void Open_access_is_blocked()
    {
        int device = _machine.OpenDevice(RfcMachine.Edu);
        uint word;
        vfio_device_info info = new() { argsz = (uint)sizeof(vfio_device_info) };
        Assert.Equal(-Errno.ENODEV, _machine.Kernel.Pread(device, (nint)(&word), 4, 0));
        Assert.Equal(-Errno.ENODEV, _machine.Kernel.Pwrite(device, (nint)(&word), 4, 0));
        Assert.Equal(-Errno.ENODEV, _machine.Kernel.Mmap(0, 4096, Libc.PROT_READ, Libc.MAP_SHARED, device, 0));
        Assert.Equal(-Errno.ENODEV, _machine.Ioctl(device, Vfio.VFIO_DEVICE_GET_INFO, ref info));
    }

    [Fact]
    [Trait("rfc", "3.1-bound")]
    public unsafe void Bound_access_is_allowed_and_DMA_reaches_nothing()
    {
        int iommu = _machine.OpenIommu();
        int device = _machine.OpenBound(RfcMachine.Edu, iommu, 1);
        vfio_device_info info = new() { argsz = (uint)sizeof(vfio_device_info) };
        Assert.Equal(0, _machine.Ioctl(device, Vfio.VFIO_DEVICE_GET_INFO, ref info));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x1000_0000));
    }

    [Fact]
    [Trait("rfc", "3.1-attached")]
    public void Attached_DMA_reaches_that_ioasid()
    {
        int iommu = _machine.OpenIommu();
        int device = _machine.OpenBound(RfcMachine.Edu, iommu, 1);
        int ioasid = _machine.Alloc(iommu);
        Assert.Equal(0, _machine.Map(iommu, ioasid, 0x4000_0000, _machine.Memory(RfcMachine.Page, 0x1122), RfcMachine.Page));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x4000_0000));
        Assert.Equal(0, _machine.Attach(device, iommu, ioasid));
        Assert.Equal(0x1122UL, _machine.DmaRead(RfcMachine.Edu, 0x4000_0000));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0x4000_1000));
    }

    [Fact]
    [Trait("rfc", "3.1-detached")]
    public void Detached_DMA_is_blocked_again_and_never_reaches_the_default_domain()
    {
        int iommu = _machine.OpenIommu();
        int device = _machine.OpenBound(RfcMachine.Edu, iommu, 1);
        int ioasid = _machine.Alloc(iommu);
        Assert.Equal(0, _machine.Map(iommu, ioasid, 0, _machine.Memory(RfcMachine.Page, 0x1122), RfcMachine.Page));
        Assert.Equal(0, _machine.Attach(device, iommu, ioasid));
        Assert.Equal(0, _machine.Detach(device, iommu, ioasid));
        Assert.Null(_machine.DmaRead(RfcMachine.Edu, 0));
        Assert.Same(_machine.Group(RfcMachine.Edu).BlockingDomain, _machine.Group(RfcMachine.Edu).Domain);
    }

    [Fact]
    [Trait("rfc", "3.1-closed")]
    public void Closed_the_device_is_detached_then_unbound_and_its_group_is_the_hosts_again()
    {
        int iommu = _machine.OpenIommu();
        int device = _machine.OpenBound(RfcMachine.Edu, iommu, 1);
        int ioasid = _machine.Alloc(iommu);
        Assert.Equal(0, _machine.Attach(device, iommu, ioasid));
        Assert.Equal(-Errno.EBUSY, _machine.Free(iommu, ioasid));
        Assert.Equal(0, _machine.Kernel.Close(device));
        Assert.Equal(0, _machine.Free(iommu, ioasid));
        Assert.Same(_machine.Group(RfcMachine.Edu).DefaultDomain, _machine.Group(RfcMachine.Edu).Domain);
        Assert.Equal(0, _machine.Bind(_machine.OpenDevice(RfcMachine.Edu), iommu, 1));
    }
}
