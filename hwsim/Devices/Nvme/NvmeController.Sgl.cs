using IommuFd.HwSim.Units;

namespace IommuFd.HwSim.Devices.Nvme;

// Scatter gather lists (NVMe 1.4 section 4.4): the descriptor in the command is a data block, or leads to segments of descriptors.
public sealed unsafe partial class NvmeController
{
    private const int DataBlock = 0, BitBucket = 1, Segment = 2, LastSegment = 3;
    private const int MostDescriptors = 256;

    // SAFETY (of all here): the caller's bytes are length long, and what is moved is never more.
    private int Sgl(ulong address, ulong descriptor, byte* bytes, ulong length, bool toHost, ulong[] words)
    {
        ulong done = 0;
        int type = Type(descriptor);
        if (type is DataBlock or BitBucket)
        {
            int status = SglPart(address, descriptor, bytes, length, ref done, toHost);
            return status == 0 && done < length ? NvmeStatus.SglLength : status;
        }

        while (type is Segment or LastSegment)
        {
            // A segment is a whole number of descriptors; the last one of a segment that is not the last leads to the next.
            uint size = (uint)descriptor;
            if (size == 0 || size % 16 != 0)
                return NvmeStatus.SglSegment;
            bool isLast = type == LastSegment;
            ulong at = address;
            for (uint left = size / 16; left > 0;)
            {
                uint count = Math.Min(left, MostDescriptors);
                fixed (ulong* descriptors = words)
                {
                    if (DmaRead(at, descriptors, 16UL * count) != DmaStatus.Success)
                        return NvmeStatus.DataTransferError;
                }

                left -= count;
                at += 16UL * count;
                for (uint i = 0; i < count; i++)
                {
                    (address, descriptor) = (words[2 * i], words[(2 * i) + 1]);
                    type = Type(descriptor);
                    if (type is Segment or LastSegment)
                    {
                        if (isLast || left > 0 || i != count - 1)
                            return NvmeStatus.SglSegment;
                        continue;
                    }

                    int status = SglPart(address, descriptor, bytes, length, ref done, toHost);
                    if (status != 0)
                        return status;
                }
            }

            if (isLast)
                break;
            if (type is not (Segment or LastSegment))
                return NvmeStatus.SglSegment;
        }

        if (type < 0 || type > LastSegment)
            return NvmeStatus.SglDescriptorType;
        return done < length ? NvmeStatus.SglLength : NvmeStatus.Success;
    }

    // A data block moves bytes, a bit bucket drops what is read. What is longer than the command's data is not used.
    private int SglPart(ulong address, ulong descriptor, byte* bytes, ulong length, ref ulong done, bool toHost)
    {
        int type = Type(descriptor);
        ulong part = Math.Min((uint)descriptor, length - done);
        if (type is not (DataBlock or BitBucket) || (type == BitBucket && !toHost))
            return NvmeStatus.SglDescriptorType;
        int status = type == DataBlock ? Move(address, bytes + done, part, toHost) : NvmeStatus.Success;
        done += part;
        return status;
    }

    // The type is in bits 7:4 of the last byte; a sub type other than "address" is none.
    private static int Type(ulong descriptor) => (descriptor >> 56 & 15) == 0 ? (int)(descriptor >> 60) : -1;
}
