using IommuFd.HwSim.Devices.Pasid;
using IommuFd.Native.Uapi;
using Xunit;

namespace HwSim.Tests.Kernel.Rfc;

/// <summary>A channel of the PASID test device, driven through its VFIO regions.</summary>
internal sealed unsafe class RfcChannel
{
    /// <summary>Uses the device's own translation cache.</summary>
    public const uint Ats = 1;

    /// <summary>Asks for pages that are missing.</summary>
    public const uint Pri = 3;

    private readonly RfcMachine _machine;
    private readonly int _device, _channel;

    public RfcChannel(RfcMachine machine, int device, int channel = 0)
    {
        (_machine, _device, _channel) = (machine, device, channel);
        ushort command = 6; // memory decoding, bus mastering
        Assert.Equal(2, machine.Kernel.Pwrite(device, (nint)(&command), 2, ((long)Vfio.VFIO_PCI_CONFIG_REGION_INDEX << 40) + 4));
    }

    /// <summary>Starts moving 8 bytes between the device's buffer and memory.</summary>
    public void Start(PasidCommand command, ulong iova, uint? pasid = null, uint control = 0)
    {
        Write(PasidRegister.Pasid, pasid is { } number ? number | (1u << 31) : 0);
        Write(PasidRegister.Control, control);
        Write(PasidRegister.Iova, (uint)iova);
        Write(PasidRegister.Iova + 4, (uint)(iova >> 32));
        Write(PasidRegister.Length, 8);
        Write(PasidRegister.Offset, 0);
        Write(PasidRegister.Command, (uint)command);
    }

    /// <summary>How the command stands.</summary>
    public PasidStatus Status => (PasidStatus)Read(PasidRegister.Status);

    /// <summary>The first 8 bytes of the buffer.</summary>
    public ulong Buffer => Read(Buffers) | ((ulong)Read(Buffers + 4) << 32);

    /// <summary>Waits for the end of the command.</summary>
    public PasidStatus Wait()
    {
        Assert.True(SpinWait.SpinUntil(() => Status != PasidStatus.Busy, TimeSpan.FromSeconds(10)));
        return Status;
    }

    public uint Read(int register)
    {
        uint value;
        Assert.Equal(4, _machine.Kernel.Pread(_device, (nint)(&value), 4, Offset(register)));
        return value;
    }

    private int Buffers => (int)PasidDevice.Buffers;

    private void Write(int register, uint value) => Assert.Equal(4, _machine.Kernel.Pwrite(_device, (nint)(&value), 4, Offset(register)));

    private long Offset(int register) => (_channel * 4096) + register;
}
