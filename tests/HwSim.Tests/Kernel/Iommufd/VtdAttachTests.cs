using IommuFd.HwSim.Kernel;
using IommuFd.HwSim.Units;
using Xunit;

namespace HwSim.Tests.Kernel.Iommufd;

/// <summary>From the command to the bytes that the unit reads.</summary>
public sealed unsafe class VtdAttachTests
{
    private const ulong Page = 4096;

    [Fact]
    public void A_device_reaches_what_is_mapped_after_attach_and_faults_after_unmap_and_detach()
    {
        using var machine = new TestMachine();
        var unit = new VtdUnit(machine.Memory, new VtdOptions { ScalableMode = false });
        var ops = new VtdOps();
        ops.Probe(unit);
        var device = new IommuDevice("0000:00:04.0", ops, unit) { RequesterId = 0x20, ReservedRegions = [VtdOps.MsiRegion] };
        Assert.Equal(0, new IommuGroup(1).AddDevice(device));

        Assert.Equal(0, machine.Context.Bind(device, out var bound));
        var ioas = machine.IoasAlloc();
        var pt = ioas;
        Assert.Equal(0, bound!.Attach(0, ref pt));
        var va = machine.Mmap(4 << 20);
        *(ulong*)va = 0x1122334455667788;
        Assert.Equal(0, machine.Map(ioas, (ulong)va, 4 << 20, 0x40000000));

        ulong read;
        Assert.Equal(DmaStatus.Success, unit.Read(0x20, DmaRequest.NoPasid, 0x40000000, &read, 8));
        Assert.Equal(0x1122334455667788UL, read);
        Assert.Equal(DmaStatus.Fault, unit.Read(0x28, DmaRequest.NoPasid, 0x40000000, &read, 8));

        Assert.Equal(0, machine.Unmap(ioas, 0x40000000, 4 << 20, out _));
        Assert.Equal(DmaStatus.Fault, unit.Read(0x20, DmaRequest.NoPasid, 0x40000000, &read, 8));

        Assert.Equal(0, machine.Map(ioas, (ulong)va, Page, 0x1000));
        Assert.Equal(DmaStatus.Success, unit.Read(0x20, DmaRequest.NoPasid, 0x1000, &read, 8));
        bound.Detach(0);
        Assert.Equal(DmaStatus.Fault, unit.Read(0x20, DmaRequest.NoPasid, 0x1000, &read, 8));
        bound.Unbind();
    }
}
