using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using Xunit;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>
/// Interrupt messages where they are translated: the kernel keeps the doorbell's page in every table of a root whose device uses it.
/// </summary>
public sealed unsafe class MessageTests : IDisposable
{
    private const ulong Window = 0x800_0000, Doorbell = GicIts.Translater & ~0xfffUL;
    private readonly RfcMachine _machine = new("rfc-smmuv3");

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void A_message_reaches_its_doorbell_from_the_root_that_the_device_is_on()
    {
        int iommu = _machine.OpenIommu(), device = _machine.OpenBound(RfcMachine.Edu, iommu, 1),
            eventfd = RfcMachine.Succeeds(_machine.Kernel.EventFd(0, Libc.EFD_NONBLOCK));
        Assert.Equal(-Errno.ENOSPC, EnableMsi(device, eventfd));
        int first = _machine.Alloc(iommu), second = _machine.Alloc(iommu);
        Assert.Equal(0, _machine.Attach(device, iommu, first));
        Assert.Equal(0UL, Physical(Window));
        Assert.Equal(0, EnableMsi(device, eventfd));
        Assert.Equal(Doorbell, Physical(Window));
        Assert.Equal(1UL, Raise(device, eventfd));
        Assert.Equal(0, _machine.Detach(device, iommu, first));
        Assert.Equal(0UL, Raise(device, eventfd));
        Assert.Equal(0, _machine.Attach(device, iommu, second));
        Assert.Equal(1UL, Raise(device, eventfd));

        // A shadow is a table of the kernel's too.
        int child = _machine.Alloc(iommu, second);
        Assert.Equal(0, _machine.Attach(device, iommu, child));
        Assert.Equal(1UL, Raise(device, eventfd));
    }

    private ulong Physical(ulong iova) => _machine.Host.IommuDevice(RfcMachine.Edu)!.Group!.Domain!.IovaToPhys(iova);

    private ulong Raise(int device, int eventfd)
    {
        uint word = 1;
        _machine.Kernel.Pwrite(device, (nint)(&word), 4, 0x60);
        word = uint.MaxValue;
        _machine.Kernel.Pwrite(device, (nint)(&word), 4, 0x64);
        ulong count = 0;
        return _machine.Kernel.Read(eventfd, (nint)(&count), 8) == 8 ? count : 0;
    }

    private int EnableMsi(int device, int eventfd)
    {
        byte* bytes = stackalloc byte[64];
        *(vfio_irq_set*)bytes = new vfio_irq_set
        {
            argsz = (uint)vfio_irq_set.data_offset + 4, index = Vfio.VFIO_PCI_MSI_IRQ_INDEX, count = 1,
            flags = Vfio.VFIO_IRQ_SET_ACTION_TRIGGER | Vfio.VFIO_IRQ_SET_DATA_EVENTFD,
        };
        *(int*)(bytes + vfio_irq_set.data_offset) = eventfd;
        return _machine.Kernel.Ioctl(device, Vfio.VFIO_DEVICE_SET_IRQS, (nint)bytes);
    }
}
