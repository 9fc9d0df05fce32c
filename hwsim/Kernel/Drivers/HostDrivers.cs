using IommuFd.Native;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>A driver of the host that uses the device's DMA itself. Does not model: what it does with the device.</summary>
internal class HostDriver(string name, params PciId[] ids) : PciDriver(name, ids)
{
    /// <inheritdoc/>
    public override int Probe(PciFunction function)
    {
        function.Enable();
        function.Write(PCI_COMMAND, 2, function.Read(PCI_COMMAND, 2) | PCI_COMMAND_MASTER);
        return 0;
    }

    /// <inheritdoc/>
    public override void Remove(PciFunction function) => function.Disable();
}

/// <summary>nvme: by class code.</summary>
internal sealed class NvmeDriver() : HostDriver("nvme", new PciId(PciId.Any, PciId.Any, Class: 0x010802, ClassMask: 0xffffff));

/// <summary>The parent of mediated devices on a machine of the proposal; it takes only what it is given.</summary>
internal sealed class SiovDriver() : HostDriver("siov");

/// <summary>igbvf, for igb's virtual functions.</summary>
internal sealed class IgbvfDriver() : HostDriver("igbvf", new PciId(0x8086, 0x10ca), new PciId(0x8086, 0x1520));

/// <summary>virtio-pci.</summary>
internal sealed class VirtioPciDriver() : HostDriver("virtio-pci", new PciId(0x1af4, PciId.Any));

/// <summary>pcieport: the ports of PCI Express, no DMA of its own.</summary>
internal sealed class PcieportDriver() : PciDriver("pcieport", new PciId(PciId.Any, PciId.Any, Class: 0x060400, ClassMask: 0xffffff))
{
    public override bool ManagesDma => true;

    /// <inheritdoc/>
    public override int Probe(PciFunction function)
    {
        if (function.Express == 0
            || function.ExpressType is not (PCI_EXP_TYPE_ROOT_PORT or PCI_EXP_TYPE_UPSTREAM or PCI_EXP_TYPE_DOWNSTREAM or PCI_EXP_TYPE_RC_EC))
        {
            return -Errno.ENODEV;
        }

        function.Enable();
        function.Write(PCI_COMMAND, 2, function.Read(PCI_COMMAND, 2) | PCI_COMMAND_MASTER);
        return 0;
    }

    /// <inheritdoc/>
    public override void Remove(PciFunction function) => function.Disable();
}

/// <summary>pci-stub: keeps other drivers away and does nothing.</summary>
internal sealed class PciStubDriver() : PciDriver("pci-stub")
{
    public override bool ManagesDma => true;

    /// <inheritdoc/>
    public override int Probe(PciFunction function) => 0;
}
