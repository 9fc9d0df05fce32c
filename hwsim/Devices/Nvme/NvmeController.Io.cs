using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Devices.Nvme;

// The NVM command set (NVMe 1.4 chapter 6) and physical region pages (section 4.3).
public sealed unsafe partial class NvmeController
{
    /// <summary>Largest transfer, as a power of two of 4 KiB pages (MDTS).</summary>
    private const int TransferShift = 7;

    private int Io(NvmeCommand* command, Lane lane)
    {
        if ((command->Flags & 3) != 0)
            return NvmeStatus.InvalidField;
        if (command->Opcode is not (0 or 1 or 2 or 8 or 9))
            return NvmeStatus.InvalidOpcode;
        if (command->Namespace != 1 && !(command->Opcode == 0 && command->Namespace == uint.MaxValue))
            return NvmeStatus.InvalidNamespace;
        if (command->Opcode == 0)
        {
            _namespace.Flush();
            return NvmeStatus.Success;
        }

        if (command->Opcode == 9)
            return Manage(command, lane);
        ulong block = command->Dw10 | (ulong)command->Dw11 << 32, blocks = (command->Dw12 & 0xffff) + 1;
        if (command->Opcode != 8 && blocks * BlockSize > 4096UL << TransferShift)
            return NvmeStatus.InvalidField;
        if (block >= _namespace.Blocks || blocks > _namespace.Blocks - block)
            return NvmeStatus.LbaOutOfRange;
        // SAFETY: the range was checked against the namespace.
        byte* bytes = _namespace.Bytes + (block * BlockSize);
        if (command->Opcode != 8)
            return Transfer(command, bytes, blocks * BlockSize, toHost: command->Opcode == 2, lane);
        new Span<byte>(bytes, (int)blocks * BlockSize).Clear();
        return NvmeStatus.Success;
    }

    // Deallocated blocks read as zeroes.
    private int Manage(NvmeCommand* command, Lane lane)
    {
        int count = (int)(command->Dw10 & 0xff) + 1;
        ulong* ranges = stackalloc ulong[2 * 256];
        int status = Transfer(command, (byte*)ranges, 16 * (ulong)count, toHost: false, lane);
        for (int i = 0; i < count && status == 0 && (command->Dw11 & 4) != 0; i++)
        {
            ulong blocks = ranges[2 * i] >> 32, block = ranges[(2 * i) + 1];
            if (block > _namespace.Blocks || blocks > _namespace.Blocks - block)
                return NvmeStatus.LbaOutOfRange;
            // SAFETY: the range was checked against the namespace.
            new Span<byte>(_namespace.Bytes + (block * BlockSize), checked((int)(blocks * BlockSize))).Clear();
        }

        return status;
    }

    // SAFETY (and of the methods below): the caller's bytes are length long.
    private int Transfer(NvmeCommand* command, byte* bytes, ulong length, bool toHost, Lane lane) => (command->Flags >> 6) switch
    {
        0 => Prp(command->Prp1, command->Prp2, bytes, length, toHost, lane.List),
        1 => Sgl(command->Prp1, command->Prp2, bytes, length, toHost, lane.Descriptors),
        2 => NvmeStatus.SglDescriptorType, // a segment in place of the metadata pointer
        _ => NvmeStatus.InvalidField,
    };

    private int Prp(ulong first, ulong second, byte* bytes, ulong length, bool toHost, ulong[] words)
    {
        ulong page = (ulong)PageSize;
        if (first % 4 != 0)
            return NvmeStatus.InvalidPrpOffset;
        ulong part = Math.Min(length, page - (first % page));
        int status = Move(first, bytes, part, toHost);
        length -= part;
        bytes += part;
        if (status != 0 || length == 0)
            return status;
        if (length <= page)
            return second % page != 0 ? NvmeStatus.InvalidPrpOffset : Move(second, bytes, length, toHost);
        if (second % 8 != 0)
            return NvmeStatus.InvalidPrpOffset;
        while (length > 0)
        {
            ulong room = (page - (second % page)) / 8, needed = (length + page - 1) / page;
            bool chained = needed > room;
            ulong entries = chained ? room : needed;
            fixed (ulong* list = words)
            {
                if (DmaRead(second, list, entries * 8) != DmaStatus.Success)
                    return NvmeStatus.DataTransferError;
            }

            // The last entry of a full list is the address of the next one.
            if (chained)
            {
                second = words[--entries];
                if (second % page != 0)
                    return NvmeStatus.InvalidPrpOffset;
            }

            for (ulong i = 0; i < entries; i++)
            {
                part = Math.Min(length, page);
                status = words[i] % page != 0 ? NvmeStatus.InvalidPrpOffset : Move(words[i], bytes, part, toHost);
                if (status != 0)
                    return status;
                length -= part;
                bytes += part;
            }
        }

        return NvmeStatus.Success;
    }

    private int Move(ulong address, byte* bytes, ulong length, bool toHost) =>
        (toHost ? DmaWrite(address, bytes, length) : DmaRead(address, bytes, length)) == DmaStatus.Success
            ? NvmeStatus.Success
            : NvmeStatus.DataTransferError;
}
