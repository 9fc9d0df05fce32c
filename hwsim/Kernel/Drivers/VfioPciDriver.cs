using IommuFd.Native;

namespace IommuFd.HwSim.Kernel;

/// <summary>vfio-pci: hands functions to user space (drivers/vfio/pci/vfio_pci.c).</summary>
internal sealed class VfioPciDriver(VfioCore core, PciTree tree) : PciDriver("vfio-pci", new PciId(PciId.Any, PciId.Any, OverrideOnly: true))
{
    // Functions with known errata that the driver refuses (vfio_pci_dev_in_denylist): Intel QAT C3XXX, C62X, DH895XCC with their VFs, DSA and IAX of
    // Sapphire Rapids.
    private static readonly ushort[] s_denied = [0x19e2, 0x19e3, 0x37c8, 0x37c9, 0x0435, 0x0443, 0x0b25, 0x0cfe];

    public override bool ManagesDma => true;

    public override bool HasSriovConfigure => true;

    /// <summary>Module parameter enable_sriov.</summary>
    public bool EnableSriov { get; set; }

    /// <summary>Module parameter disable_denylist.</summary>
    public bool DisableDenylist { get; set; }

    /// <summary>Module parameter nointxmask.</summary>
    public bool NoIntxMask { get; set; }

    /// <summary>Module parameter disable_idle_d3.</summary>
    public bool DisableIdleD3 { get; set; }

    /// <inheritdoc/>
    public override int Probe(PciFunction function)
    {
        if (function.Vendor == 0x8086 && s_denied.Contains(function.Device) && !DisableDenylist)
        {
            return -Errno.EINVAL;
        }

        if (function.HeaderType != 0)
        {
            return -Errno.EINVAL;
        }

        if (function.VirtualFunctions.Count != 0)
        {
            return -Errno.EBUSY;
        }

        var device = new VfioPciDevice(core, tree, function, NoIntxMask);
        if (function.IsVirtual && function.Physical!.DriverData is VfioPciDevice physical && physical.SriovActive)
        {
            device.PhysicalDevice = physical;
        }

        function.DriverData = device;

        // Functions of one bus below a bridge are reset together; on the root bus, and for virtual functions, everyone is alone.
        int error = core.Register(device, function.IsOnRootBus || function.IsVirtual ? null : function.Bridge);
        if (error == 0)
        {
            function.Hardware.Interrupts = device.Interrupts;
        }

        return error;
    }

    /// <inheritdoc/>
    public override void Remove(PciFunction function)
    {
        var device = (VfioPciDevice)function.DriverData!;
        device.ConfigureSriov(0);
        core.Unregister(device);
        function.Hardware.Interrupts = null;
    }

    /// <inheritdoc/>
    public override int SriovConfigure(PciFunction function, int count) => EnableSriov
        ? ((VfioPciDevice)function.DriverData!).ConfigureSriov(count)
        : -Errno.ENOENT;
}
