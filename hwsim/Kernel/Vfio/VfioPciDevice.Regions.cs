using IommuFd.HwSim.Devices;
using System.Runtime.CompilerServices;
using IommuFd.Native;
using IommuFd.Native.Uapi;
using static IommuFd.HwSim.Kernel.PciRegisters;

namespace IommuFd.HwSim.Kernel;

/// <summary>Regions: the configuration space, the BARs and the ROM.</summary>
internal sealed unsafe partial class VfioPciDevice
{
    private const int OffsetShift = 40;
    private const long OffsetMask = (1L << OffsetShift) - 1;

    // Where the MSI-X table is; no BAR without one.
    private int _msixBar = -1;
    private ulong _msixStart, _msixEnd;

    /// <inheritdoc/>
    public override int RegionInfo(ref vfio_region_info info, List<byte[]> capabilities)
    {
        if (info.index >= Vfio.VFIO_PCI_NUM_REGIONS || info.index == Vfio.VFIO_PCI_VGA_REGION_INDEX)
        {
            return -Errno.EINVAL;
        }

        info.offset = (ulong)info.index << OffsetShift;
        info.flags = 0;
        if (info.index == Vfio.VFIO_PCI_CONFIG_REGION_INDEX)
        {
            info.size = (ulong)Function.ConfigSize;
            info.flags = Vfio.VFIO_REGION_INFO_FLAG_READ | Vfio.VFIO_REGION_INFO_FLAG_WRITE;
            return 0;
        }

        // There is no model with an expansion ROM: its region has no size.
        info.size = info.index == Vfio.VFIO_PCI_ROM_REGION_INDEX ? 0 : Function.Resources[info.index].Length;
        if (info.size != 0)
        {
            info.flags = Vfio.VFIO_REGION_INFO_FLAG_READ | Vfio.VFIO_REGION_INFO_FLAG_WRITE;
            if (Function.Hardware.IsMappable((int)info.index))
            {
                info.flags |= Vfio.VFIO_REGION_INFO_FLAG_MMAP;
                if ((int)info.index == _msixBar)
                {
                    InfoCapabilities.Add(capabilities, Vfio.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 1, []);
                }
            }
        }

        return 0;
    }

    /// <inheritdoc/>
    public override nint Read(ulong buffer, nuint count, long offset, IUserMemory user) => Move(buffer, count, offset, user, write: false);

    /// <inheritdoc/>
    public override nint Write(ulong buffer, nuint count, long offset, IUserMemory user) => Move(buffer, count, offset, user, write: true);

    /// <inheritdoc/>
    public override nint Mmap(nint address, nuint length, int protection, int flags, long offset) =>
        Mappable(length, flags, offset) is { } memory ? memory.Mmap(address, length, protection, flags, offset & OffsetMask) : -Errno.EINVAL;

    /// <inheritdoc/>
    public override int MapSource(nuint length, int flags, long offset, out int descriptor)
    {
        var memory = Mappable(length, flags, offset);
        descriptor = memory?.Descriptor ?? -1;
        return memory is null ? -Errno.EINVAL : 0;
    }

    private DeviceMemory? Mappable(nuint length, int flags, long offset)
    {
        long index = offset >> OffsetShift;
        ulong rounded = ((ulong)length + 4095) & ~4095UL;
        return index is < 0 or >= Vfio.VFIO_PCI_ROM_REGION_INDEX || (flags & Native.Libc.MAP_SHARED) == 0
            || (ulong)(offset & OffsetMask) + rounded > ((Function.Resources[index].Length + 4095) & ~4095UL)
                ? null
                : Function.Hardware.MapBar((int)index);
    }

    // As vfio_pci_core_enable, once for all accesses: they do not ask the device, whose lock they would wait for.
    private void FindMsixTable()
    {
        _msixBar = -1;
        if (Function.Msix != 0)
        {
            uint table = Function.Read(Function.Msix + PCI_MSIX_TABLE, 4);
            _msixBar = (int)(table & 7);
            _msixStart = table & ~7u;
            _msixEnd = _msixStart + (16 * ((Function.Read(Function.Msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1));
        }
    }

    private nint Move(ulong buffer, nuint count, long offset, IUserMemory user, bool write)
    {
        if (count == 0)
        {
            return 0;
        }

        long index = offset >> OffsetShift;
        long position = offset & OffsetMask;
        if (index == Vfio.VFIO_PCI_CONFIG_REGION_INDEX)
        {
            return Config!.Move(buffer, count, position, user, write);
        }

        // The ROM region and the VGA region do not exist here, and there is none beyond.
        return index is >= 0 and < Vfio.VFIO_PCI_ROM_REGION_INDEX ? MoveBar((int)index, buffer, count, position, user, write) : -Errno.EINVAL;
    }

    // vfio_pci_bar_rw: naturally aligned pieces of at most 8 bytes; the MSI-X table reads as ones and cannot be written.
    private nint MoveBar(int bar, ulong buffer, nuint count, long position, IUserMemory user, bool write)
    {
        PciResource resource = Function.Resources[bar];
        if (resource.Length == 0 || (ulong)position >= resource.Length)
        {
            return -Errno.EINVAL;
        }

        ulong left = Math.Min(count, resource.Length - (ulong)position);
        ulong at = (ulong)position, excludedStart = 0, excludedEnd = 0;
        if (bar == _msixBar)
        {
            (excludedStart, excludedEnd) = (_msixStart, _msixEnd);
        }

        nint done = 0;
        while (left != 0)
        {
            ulong fillable = at < excludedStart ? Math.Min(left, excludedStart - at) : at >= excludedEnd ? left : 0;
            ulong piece;
            int error;
            if (fillable == 0)
            {
                piece = Math.Min(left, excludedEnd - at);
                error = write ? 0 : Fill(buffer, piece, user);
            }
            else
            {
                piece = fillable >= 8 && at % 8 == 0 ? 8u : fillable >= 4 && at % 4 == 0 ? 4u : fillable >= 2 && at % 2 == 0 ? 2u : 1u;
                error = Access(bar, resource.IsMemory, at, (int)piece, buffer, user, write);
            }

            if (error < 0)
            {
                return error;
            }

            left -= piece;
            at += piece;
            buffer += piece;
            done += (nint)piece;
        }

        return done;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int Access(int bar, bool isMemory, ulong at, int bytes, ulong buffer, IUserMemory user, bool write)
    {
        ulong value = 0;

        // SAFETY: bytes is at most 8, the size of value.
        if (write && user.CopyFrom(buffer, &value, (nuint)bytes) < 0)
        {
            return -Errno.EFAULT;
        }

        int reading = _memoryLock.EnterRead();
        try
        {
            if (isMemory && !MemoryEnabled)
            {
                return -Errno.EIO;
            }

            if (write)
            {
                Function.Hardware.WriteBar(bar, at, bytes, value);
                return 0;
            }

            value = Function.Hardware.ReadBar(bar, at, bytes);
        }
        finally
        {
            _memoryLock.ExitRead(reading);
        }

        return user.CopyTo(buffer, &value, (nuint)bytes) < 0 ? -Errno.EFAULT : 0;
    }

    private static int Fill(ulong buffer, ulong count, IUserMemory user)
    {
        byte ones = 0xff;
        for (ulong i = 0; i < count; i++)
        {
            if (user.CopyTo(buffer + i, &ones, 1) < 0)
            {
                return -Errno.EFAULT;
            }
        }

        return 0;
    }
}
