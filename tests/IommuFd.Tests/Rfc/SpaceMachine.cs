using System.Buffers.Binary;
using IommuFd.HwSim;
using IommuFd.HwSim.Units;
using IommuFd.Sysfs;

namespace IommuFd.Tests;

/// <summary>A simulated machine whose devices' DMA is made by the test: what a device would see at an IOVA.</summary>
internal sealed class SpaceMachine : IDisposable
{
    internal SpaceMachine(string topology, ContextKind? kind = null, params PciAddress[] devices)
        : this(Topology.ByName(topology), kind, devices)
    {
    }

    internal SpaceMachine(Topology topology, ContextKind? kind = null, params PciAddress[] devices)
    {
        Machine = new SimulatedHost(topology);
        Host = IommuHost.Over(Machine);
        DriverBinder binder = new(Machine.Sysfs, new MemoryBindingStore());
        devices = devices.Length > 0 ? devices : [.. Simulated.WithIommu(Machine, Simulated.Edu, Simulated.PairFirst, Simulated.PairSecond),
            .. Machine.Device("0000:00:08.0") is null ? Array.Empty<PciAddress>() : [Pasid]];
        Assert.Null(binder.Apply(binder.PlanBind(devices, DriverClaim.VfioPci)));
        Context = Host.OpenContext(kind);
        Buffer = Host.AllocateBuffer(0x10000);
        for (ulong at = 0; at < Buffer.Length; at += 8)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(Buffer.Slice(at, 8), 0x5afe_0000_0000_0000 | at);
        }
    }

    internal static PciAddress Pasid => PciAddress.Parse("0000:00:08.0");

    internal SimulatedHost Machine { get; }

    internal IommuHost Host { get; }

    internal IommuContext Context { get; }

    /// <summary>64 KiB of which every word says where it is.</summary>
    internal DmaBuffer Buffer { get; }

    internal static ulong Word(ulong offset) => 0x5afe_0000_0000_0000 | offset;

    public void Dispose()
    {
        Buffer.Dispose();
        Context.Dispose();
        Host.Dispose();
        Machine.Dispose();
    }

    internal BoundDevice Bind(PciAddress address, ulong cookie)
    {
        using VfioDeviceFile file = Host.OpenDevice(address);
        BoundDevice device = file.Bind(Context, cookie);
        using ConfigSpace config = device.OpenConfigSpace();
        config.EnableBusMaster();
        return device;
    }

    /// <summary>What the device reads by DMA; null when it is refused.</summary>
    internal unsafe ulong? Read(BoundDevice device, ulong iova, uint? pasid = null)
    {
        ulong word;

        // SAFETY: the unit writes 8 bytes to the word on the stack.
        DmaStatus status =
            Machine.Unit!.Read(Machine.Device(device.Address!.Value.ToString())!.RequesterId, pasid ?? DmaRequest.NoPasid, iova, &word, 8);
        return status == DmaStatus.Success ? word : null;
    }

    /// <summary>Whether the device's write by DMA arrives.</summary>
    internal unsafe bool Write(BoundDevice device, ulong iova, ulong word) =>
        // SAFETY: the unit reads 8 bytes of the word on the stack.
        Machine.Unit!.Write(Machine.Device(device.Address!.Value.ToString())!.RequesterId, DmaRequest.NoPasid, iova, &word, 8) == DmaStatus.Success;
}
