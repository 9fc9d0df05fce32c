using IommuFd.HwSim.Units;
using IommuFd.Native;
using IommuFd.Native.Uapi;

namespace IommuFd.HwSim.Kernel;

/// <summary>
/// A mediated device of <see cref="RfcMdevParent"/>. Isolated by the IOMMU, its parent does its DMA with the device's default PASID or one that the
/// user registered; purely in software, its driver looks the address up in the space that is attached, and no table is installed.
/// </summary>
/// <remarks>
/// Region 0 has the registers below. Does not model: configuration space beyond the ids, interrupts, reset of what the parent still does.
/// </remarks>
internal sealed unsafe class RfcMdev(
    VfioCore core, RfcModule module, string name, DirectoryNode directory, PciFunction parent, RfcPasidType type, uint defaultPasid)
    : VfioDevice(core, name, new IommuDevice(name, null, null) { IsPci = false }, directory), IRfcMediated
{
    /// <summary>64 bits: address in the device's space.</summary>
    public const int Iova = 0x00;

    /// <summary>64 bits: what a command reads or writes.</summary>
    public const int Data = 0x08;

    /// <summary>32 bits: the user's PASID in bits 19:0 when bit 31 is set; else the default space.</summary>
    public const int Vpasid = 0x10;

    /// <summary>32 bits, write only: 1 reads memory into <see cref="Data"/>, 2 writes it.</summary>
    public const int Command = 0x14;

    /// <summary>32 bits, read only: 0 idle, 1 done, 2 fault, 3 no space for that PASID.</summary>
    public const int Status = 0x18;

    private const int OffsetShift = 40, Registers = 0x20, RegionSize = 4096;
    private const ulong PasidValid = 1u << 31;
    private readonly byte[] _registers = new byte[Registers];

    /// <inheritdoc/>
    public RfcPasidType PasidType => type;

    /// <inheritdoc/>
    public uint DefaultPasid => defaultPasid;

    /// <inheritdoc/>
    public IommuDevice Parent => parent.Iommu;

    /// <inheritdoc/>
    public List<RfcDevice> Bound { get; } = [];

    /// <summary>A work descriptor arrived at the portal, with the PASID that the CPU put into it. False: the portal is blocked, try again.</summary>
    public bool Submit(uint pasid, ulong iova, ulong data)
    {
        lock (module.Lock)
        {
            if (!Bound.Exists(static b => b.Context.Translator is not null))
            {
                return false;
            }
        }

        _ = parent.Hardware.Unit!.Write(Parent.RequesterId, pasid, iova, &data, sizeof(ulong));
        return true;
    }

    /// <inheritdoc/>
    public override int Ioctl(uint request, ulong argument, IUserMemory user)
    {
        const uint minimum = 16; // through num_irqs
        vfio_device_info info = default;
        if (request == Vfio.VFIO_DEVICE_RESET)
        {
            Array.Clear(_registers);
            return 0;
        }

        if (request != Vfio.VFIO_DEVICE_GET_INFO)
        {
            return -Errno.ENOTTY;
        }

        if (user.CopyFrom(argument, &info, minimum) < 0)
        {
            return -Errno.EFAULT;
        }

        if (info.argsz < minimum)
        {
            return -Errno.EINVAL;
        }

        uint size = Math.Min(info.argsz, (uint)sizeof(vfio_device_info));
        info.flags = Vfio.VFIO_DEVICE_FLAGS_PCI | Vfio.VFIO_DEVICE_FLAGS_RESET;
        info.num_regions = Vfio.VFIO_PCI_NUM_REGIONS;
        info.num_irqs = 0;
        return user.CopyTo(argument, &info, size) < 0 ? -Errno.EFAULT : 0;
    }

    /// <inheritdoc/>
    public override int RegionInfo(ref vfio_region_info info, List<byte[]> capabilities)
    {
        if (info.index >= Vfio.VFIO_PCI_NUM_REGIONS)
        {
            return -Errno.EINVAL;
        }

        info.offset = (ulong)info.index << OffsetShift;
        info.size = info.index == 0 ? (ulong)RegionSize : 0;
        info.flags = info.index == 0 ? Vfio.VFIO_REGION_INFO_FLAG_READ | Vfio.VFIO_REGION_INFO_FLAG_WRITE : 0;
        return 0;
    }

    /// <inheritdoc/>
    public override nint Read(ulong buffer, nuint count, long offset, IUserMemory user)
    {
        if (offset >> OffsetShift != 0 || offset < 0 || count > RegionSize || offset > RegionSize - (long)count)
        {
            return -Errno.EINVAL;
        }

        byte[] bytes = new byte[count];
        lock (_registers)
        {
            for (int i = 0; i < bytes.Length; i++)
            {
                bytes[i] = offset + i < Registers ? _registers[offset + i] : (byte)0;
            }
        }

        // SAFETY: the array is pinned and as long as stated.
        fixed (byte* p = bytes)
        {
            return user.CopyTo(buffer, p, count) < 0 ? -Errno.EFAULT : (nint)count;
        }
    }

    /// <inheritdoc/>
    public override nint Write(ulong buffer, nuint count, long offset, IUserMemory user)
    {
        ulong value = 0;
        if (offset >> OffsetShift != 0 || count is not (4 or 8) || offset < 0 || offset % (long)count != 0 || offset > Registers - (long)count)
        {
            return -Errno.EINVAL;
        }

        // SAFETY: count is at most the size of value.
        if (user.CopyFrom(buffer, &value, count) < 0)
        {
            return -Errno.EFAULT;
        }

        lock (_registers)
        {
            if (offset == Command && count == 4)
            {
                Run((uint)value);
            }
            else if (offset < Command)
            {
                BitConverter.TryWriteBytes(_registers.AsSpan((int)offset), value & (count == 8 ? ulong.MaxValue : uint.MaxValue));
            }
        }

        return (nint)count;
    }

    /// <inheritdoc/>
    protected override int OpenDevice() => 0;

    /// <inheritdoc/>
    protected override void CloseDevice() => Array.Clear(_registers);

    private void Run(uint command)
    {
        ulong iova = BitConverter.ToUInt64(_registers, Iova), data = BitConverter.ToUInt64(_registers, Data);
        uint register = BitConverter.ToUInt32(_registers, Vpasid);
        RfcSlot? slot;
        lock (module.Lock)
        {
            // The driver has the user's number turned into the one on the wire.
            uint? vpasid = (register & PasidValid) != 0 ? register & 0xf_ffff : null;
            slot = Bound.Select(b => b.SlotOf(vpasid)).FirstOrDefault(static s => s is not null);
        }

        bool write = command == 2;
        uint status = 2;
        if (slot is null && (register & PasidValid) != 0)
        {
            status = 3;
        }
        else if (type == RfcPasidType.Software)
        {
            status = slot?.Effective is RfcKernelIoasid space && space.Pagetable.CopyAccess(iova, iova + sizeof(ulong) - 1, (byte*)&data, write) == 0
                ? 1u
                : 2;
        }
        else
        {
            IommuUnit unit = parent.Hardware.Unit!;
            uint pasid = slot?.Pasid ?? defaultPasid;
            DmaStatus done = write
                ? unit.Write(Parent.RequesterId, pasid, iova, &data, sizeof(ulong))
                : unit.Read(Parent.RequesterId, pasid, iova, &data, sizeof(ulong));
            status = done == DmaStatus.Success ? 1u : 2;
        }

        BitConverter.TryWriteBytes(_registers.AsSpan(Data), data);
        BitConverter.TryWriteBytes(_registers.AsSpan(Status), status);
    }
}
